package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
)

// public are the operations for which nobody has to say who he is. Of one the
// address has the token.
var public = []string{
	"GET /", "GET /admin/public-stats", "GET /api/test-templates", "GET /health", "GET /health/ready",
	"GET /openapi.json", "GET /openrouter/v1/models", "GET /openrouter/v1/models/{model}", "GET /t/{token}/",
	"GET /v1/models", "GET /v1/models/{model}", "POST /admin/login",
}

// TestEveryOperationAsksWhoCalls calls everything that the OpenAPI document has
// without credentials and with wrong ones, in every method. Nothing lets a
// stranger in, and nothing has changed afterwards.
func TestEveryOperationAsksWhoCalls(t *testing.T) {
	t.Parallel()
	up, i, token := serving(t, mixed, encryptionKey, "ADMIN_TOKEN=fake-admin-token-of-operations", "REQUEST_LOG=all")
	for range len(mixed) { // so that there is something to tell
		if _, _, err := do(t.Context(), "POST", i.URL()+"/v1/chat/completions", token, chatBody); err != nil {
			t.Fatal(err)
		}
	}
	cookie, csrf := i.login(t)
	all := operations(t, i)
	names := map[string]string{
		"key": idOf(fakeKey(gateway.Ollama, 0)), "token": idOfToken(token), "model": ollamaFace.chat, "id": "0123456789abcdef", "digest": "sha256:00",
	}
	before, calls := everything(t, i), len(up.Calls())
	strangers(t, i, all, names)
	oddMethods(t, i, all, names)
	wrongCredentials(t, i, all, names, token, cookie)
	if after := everything(t, i); !maps.Equal(before, after) {
		t.Errorf("something has changed:\n%v\n%v", before, after)
	}
	if n := len(up.Calls()); n > calls+2 { // the lists of models were asked for
		t.Errorf("%d kinds of calls upstream, before %d", n, calls)
	}
	// What a session may do it can do.
	for _, with := range []map[string]string{{"Cookie": cookie, "X-CSRF-Token": csrf}} {
		got, err := i.Ask(t.Context(), call{method: "POST", path: "/admin/cache/clear", kind: "application/json", body: strings.NewReader("{}"), header: with, anonymous: true})
		if err != nil || got.Status != http.StatusOK {
			t.Errorf("with a session: %d %s %v", got.Status, got.Body, err)
		}
	}
	watch(t, i, token)
	names["id"] = lastRequest(t, i)
	searchAnswers(t, i, names)
	i.Stop()
	searchFiles(t, i, false)
}

// login begins a session, whose cookie is a planted secret from then on.
func (i *Instance) login(t *testing.T) (cookie, csrf string) {
	t.Helper()
	got, err := i.Ask(t.Context(), func() call {
		c := withJSON("POST", "/admin/login", map[string]any{"token": i.AdminToken()})
		c.anonymous = true
		return c
	}())
	if err != nil || got.Status != http.StatusOK {
		t.Fatalf("the login: %d %s %v", got.Status, got.Body, err)
	}
	var session struct{ CSRFToken string }
	if err := json.Unmarshal(got.Body, &session); err != nil || session.CSRFToken == "" {
		t.Fatalf("the login: %s %v", got.Body, err)
	}
	set, err := http.ParseSetCookie(got.Header.Get("Set-Cookie"))
	if err != nil || !set.HttpOnly || set.SameSite != http.SameSiteStrictMode || len(set.Value) < 40 {
		t.Fatalf("the cookie: %+v %v", set, err)
	}
	i.secrets.plant(set.Value)
	return set.Name + "=" + set.Value, session.CSRFToken
}

// everything is how things stand, as far as calls can change it.
func everything(t *testing.T, i *Instance) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, p := range gateway.Providers() {
		for id, k := range i.Keys(p) {
			out["key "+id] = fmt.Sprint(k.Status, k.Username, k.DisabledReason, k.LastError)
		}
		got := i.Totals(p)
		out["totals of "+string(p)] = fmt.Sprint(got)
	}
	for id, token := range i.Tokens() {
		out["token "+id] = fmt.Sprint(token)
	}
	type table struct{ Total int }
	out["jobs"] = fmt.Sprint(get[table](t, i, "/admin/jobs").Total)
	type settings struct{ Settings any }
	out["settings"] = fmt.Sprint(get[settings](t, i, "/admin/settings"))
	return out
}

// harm is a body that names whatever a call could change.
func harm(names map[string]string) json.RawMessage {
	b, err := json.Marshal(map[string]any{
		"apiKey": names["key"], "filter": map[string]any{"status": "all"}, "keys": []string{"fake-e2e-strangers-key"},
		"content": "fake-e2e-strangers-key", "accounts": []string{"fake-e2e-strangers-key"}, "api_key": "fake-e2e-strangers-key",
		"name": "stranger", "token": names["token"], "scope": "all", "model": ollamaFace.chat, "messages": chatBody["messages"],
	})
	if err != nil {
		panic(err) // a map of a test's own always encodes
	}
	return b
}

// where is the address of an operation, with names of the provider's own.
func (o *operation) where(names map[string]string) string {
	if strings.HasPrefix(o.path, "/openrouter/") {
		names = maps.Clone(names)
		names["model"] = openRouterFace.chat
	}
	return o.filled(names)
}

// strangers calls everything without credentials, as documented and to do harm.
func strangers(t *testing.T, i *Instance, all []operation, names map[string]string) {
	t.Helper()
	var open []string
	for _, o := range all {
		bodies := []json.RawMessage{o.body}
		if o.body != nil {
			bodies = append(bodies, harm(names))
		}
		for _, body := range bodies {
			c := call{method: o.method, path: o.where(names), anonymous: true}
			if body != nil {
				c.kind, c.body = "application/json", strings.NewReader(string(body))
			}
			got, err := i.Ask(t.Context(), c)
			isOpen := slices.Contains(public, o.method+" "+o.path)
			switch {
			case err != nil:
				t.Errorf("%s %s: %v", o.method, o.path, err)
			case o.path == "/admin/login", o.path == "/t/{token}/":
				if got.Status != http.StatusUnauthorized {
					t.Errorf("%s with a wrong token: %d", o.path, got.Status)
				}
			case isOpen != (got.Status == http.StatusOK) || !isOpen && got.Status != http.StatusUnauthorized:
				t.Errorf("%s %s without credentials: %d %.200s", o.method, o.path, got.Status, got.Body)
			}
		}
		if o.open {
			open = append(open, o.method+" "+o.path)
		}
	}
	slices.Sort(open)
	if !slices.Equal(open, public) {
		t.Errorf("the document lets everybody in at\n%v, want\n%v", open, public)
	}
}

// oddMethods asks every address with methods that it does not have.
func oddMethods(t *testing.T, i *Instance, all []operation, names map[string]string) {
	t.Helper()
	known := map[string][]string{}
	names = maps.Clone(names)
	names["token"] = idOfToken("sk-none")
	for _, o := range all {
		path := o.where(names)
		known[path] = append(known[path], o.method)
	}
	for path, methods := range known {
		for _, method := range []string{"HEAD", "OPTIONS", "PUT", "TRACE", "BREW"} {
			got, err := i.Ask(t.Context(), call{method: method, path: path, anonymous: true})
			if err != nil {
				t.Errorf("%s %s: %v", method, path, err)
				continue
			}
			allow := got.Header.Get("Allow")
			switch {
			case method == "HEAD" && slices.Contains(methods, "GET"):
				if (got.Status != http.StatusOK && got.Status != http.StatusUnauthorized) || len(got.Body) > 0 {
					t.Errorf("HEAD %s: %d with %d bytes", path, got.Status, len(got.Body))
				}
			case strings.HasPrefix(path, "/api/blobs/"): // forbidden in every way
				if got.Status != http.StatusUnauthorized && got.Status != http.StatusNoContent {
					t.Errorf("%s %s: %d", method, path, got.Status)
				}
			case method == "OPTIONS":
				if got.Status != http.StatusNoContent && got.Status != http.StatusUnauthorized || len(got.Body) > 0 && got.Status == http.StatusNoContent {
					t.Errorf("OPTIONS %s: %d %.100s", path, got.Status, got.Body)
				}
			case got.Status == http.StatusMethodNotAllowed:
				for _, m := range methods {
					if !strings.Contains(allow, m) {
						t.Errorf("%s %s: allowed is %q, which lacks %s", method, path, allow, m)
					}
				}
			default:
				t.Errorf("%s %s: %d %.100s", method, path, got.Status, got.Body)
			}
		}
	}
}

// wrongCredentials calls with those that are good for something else.
func wrongCredentials(t *testing.T, i *Instance, all []operation, names map[string]string, token, cookie string) {
	t.Helper()
	ask := func(o *operation, header map[string]string) answered {
		c := call{method: o.method, path: o.where(names), header: header, anonymous: true}
		if o.body != nil {
			c.kind, c.body = "application/json", strings.NewReader(string(harm(names)))
		}
		got, err := i.Ask(t.Context(), c)
		if err != nil {
			t.Errorf("%s %s: %v", o.method, o.path, err)
		}
		return got
	}
	tries := 0
	for _, o := range all {
		name := o.method + " " + o.path
		switch {
		case slices.Contains(public, name):
		case o.admin:
			if got := ask(&o, map[string]string{"Cookie": "ollama_pool_session=" + strings.Repeat("x", 43)}); got.Status != http.StatusUnauthorized {
				t.Errorf("%s with the cookie of no session: %d", name, got.Status)
			}
			if o.method != http.MethodGet {
				if got := ask(&o, map[string]string{"Cookie": cookie}); got.Status != http.StatusForbidden {
					t.Errorf("%s with a session, from a page of another site: %d", name, got.Status)
				}
			}
			if tries++; tries <= 3 { // more would be taken for guessing
				if got := ask(&o, map[string]string{"Authorization": "Bearer " + token}); got.Status != http.StatusUnauthorized {
					t.Errorf("%s with a client token: %d", name, got.Status)
				}
			}
		default:
			if got := ask(&o, map[string]string{"Authorization": "Bearer " + i.AdminToken()}); got.Status != http.StatusUnauthorized {
				t.Errorf("%s with the admin token: %d", name, got.Status)
			}
		}
	}
}

// watch reads the stream of live figures while something happens.
func watch(t *testing.T, i *Instance, token string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, i.URL()+"/admin/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+i.AdminToken())
	resp, err := patient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	lines := bufio.NewReader(resp.Body)
	for n := 0; n < 8; {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatalf("the stream ended after %d events: %v", n, err)
		}
		if strings.HasPrefix(line, "data: ") {
			n++
			if _, _, err := do(ctx, "POST", i.URL()+"/v1/chat/completions", token, chatBody); err != nil {
				t.Fatal(err)
			}
		}
		for _, secret := range i.secrets.list() {
			if strings.Contains(line, secret) {
				t.Errorf("the stream tells a secret of %d characters", len(secret))
			}
		}
	}
	cancel()
	_, _ = io.Copy(io.Discard, resp.Body)
}

// lastRequest is the id of the newest request in the log, once there is one.
func lastRequest(t *testing.T, i *Instance) (id string) {
	t.Helper()
	type page struct {
		Requests []struct {
			ID string
			At time.Time
		}
	}
	await(t, "request in the log", func() bool {
		got := get[page](t, i, "/admin/requests?limit=1")
		if len(got.Requests) > 0 {
			id = got.Requests[0].ID
		}
		return id != ""
	})
	return id
}
