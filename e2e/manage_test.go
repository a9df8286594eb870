package e2e

import (
	"bytes"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
)

// manyKeys is as many keys as an operator has.
const manyKeys = 100_000

// manyKey is the n-th of them. Masked it shows nothing of manyMark.
func manyKey(n int) string { return fmt.Sprintf("%s%06d", manyMark, n) }

const manyMark = "fake-e2e-many-"

type imported struct {
	Total, Added, Existing int
	Invalid                []struct {
		Line   int
		Reason string
	}
	InvalidTotal int
	DryRun       bool
	Repeated     *int
	Preview      []struct {
		Line                int
		Username, Key, Form string
	}
}

type keyList struct {
	Keys       []keyEntry `json:"api_keys"`
	Total      int
	Page       int
	PageSize   int
	TotalPages int
}

type changed struct {
	Success, DryRun         bool
	Changed, Deleted, Total int
}

// TestHundredThousandKeys fills the program with a hundred thousand keys in one
// call, and then works with them as an operator would. It costs no request
// upstream.
func TestHundredThousandKeys(t *testing.T) {
	t.Parallel()
	up := newChecker(t)
	i := newInstance(t, append(up.settings(), encryptionKey, "ADMIN_TOKEN=fake-admin-token-of-many-keys")...)
	i.Path = quickProgram(t)
	i.plantLines(manyMark)
	i.Start()
	token := i.CreateToken("many", "all")

	fill(t, i)
	lists(t, i)
	figuresOfMany(t, i, token)
	exports(t, i)
	changesInBulk(t, i)
	i.Kill() // and nothing that was acknowledged is lost
	searchFiles(t, i, false)
	i.Start()
	if got := get[keyList](t, i, "/admin/api-keys?pageSize=1"); got.Total != manyKeys-2000 {
		t.Errorf("after kill -9 there are %d keys", got.Total)
	}
	i.Stop()
	if up.questions()+up.spent() != 0 {
		t.Errorf("the upstream was asked %d questions and %d other things", up.questions(), up.spent())
	}
}

// manyLines is a file of so many lines as ollama.txt has them, with what such
// files hold besides, and a bad line in the middle.
func manyLines() (text string, bad int) {
	var b strings.Builder
	b.WriteString("\ufeff# accounts\r\n\r\n")
	for n := range manyKeys {
		if n == manyKeys/2 {
			bad = n + 3
			fmt.Fprintf(&b, "somebody@example.invalid----%s%d----no key in sight\n", linePassword, n)
		}
		b.WriteString(longLine(n, manyKey(n)))
	}
	return b.String(), bad
}

// fill imports everything, again, and again as a dry run.
func fill(t *testing.T, i *Instance) {
	t.Helper()
	text, bad := manyLines()
	const path = "/admin/api-keys/import-from-txt"
	got := want[imported](t, i, http.StatusOK, withText(path, text))
	if got.Added != manyKeys || got.Total != manyKeys || got.Existing != 0 || got.InvalidTotal != 1 || len(got.Invalid) != 1 || got.Invalid[0].Line != bad {
		t.Fatalf("the import says %+v, the bad line is %d", got, bad)
	}
	if got = want[imported](t, i, http.StatusOK, withText(path, text)); got.Added != 0 || got.Existing != manyKeys || got.Total != manyKeys {
		t.Errorf("the same again: %+v", got)
	}
	var more strings.Builder
	for n := manyKeys - 500; n < manyKeys+500; n++ {
		more.WriteString(longLine(n, manyKey(n)))
	}
	more.WriteString(longLine(manyKeys, manyKey(manyKeys)))
	got = want[imported](t, i, http.StatusOK, withForm(path+"?dryRun=true", "more.txt", more.String()))
	if !got.DryRun || got.Added != 500 || got.Existing != 501 || got.Repeated == nil || *got.Repeated != 1 || len(got.Preview) != 20 || got.Preview[0].Form != "5 fields" {
		t.Errorf("a dry run: %+v", got)
	}
	if now := get[keyList](t, i, "/admin/api-keys?pageSize=1"); now.Total != manyKeys {
		t.Errorf("after a dry run there are %d keys", now.Total)
	}
	// The other forms, into the other pool.
	want[imported](t, i, http.StatusOK, withForm(path+"?provider=openrouter", "part.txt", more.String()))
	lines := strings.Split(more.String(), "\n")
	got = post[imported](t, i, "/admin/api-keys/import", map[string]any{"provider": "openrouter", "keys": lines[:10]})
	if got.Existing != 10 || got.Total != 1000 {
		t.Errorf("the same as a list: %+v", got)
	}
}

// lists pages through the keys, searches, sorts and filters them.
func lists(t *testing.T, i *Instance) {
	t.Helper()
	seen := map[string]bool{}
	for page := range 3 {
		for _, at := range []int{page + 1, 250 + page, 500 - page} {
			got := get[keyList](t, i, fmt.Sprintf("/admin/api-keys?pageSize=200&page=%d", at))
			if len(got.Keys) != 200 || got.Total != manyKeys || got.TotalPages != 500 || got.Page != at {
				t.Fatalf("page %d: %d keys, %d in all, %d pages", at, len(got.Keys), got.Total, got.TotalPages)
			}
			for _, k := range got.Keys {
				if seen[k.ID] {
					t.Errorf("key %s is on two pages", k.ID)
				}
				seen[k.ID] = true
			}
		}
	}
	if got := get[keyList](t, i, "/admin/api-keys?page=501&pageSize=200"); len(got.Keys) != 0 {
		t.Errorf("behind the last page there are %d keys", len(got.Keys))
	}
	one := manyKey(54321)
	for search, n := range map[string]int{
		"user054321": 1, "USER05432": 10, one: 1, idOf(one): 1, "@g07.": manyKeys / 100, "%": 0, "user_054321": 0,
		strings.ToUpper(one): 0, one[:len(one)-1]: 0, linePassword: 0,
	} {
		got := get[keyList](t, i, "/admin/api-keys?pageSize=20&search="+url.QueryEscape(search))
		if got.Total != n || len(got.Keys) != min(n, 20) {
			t.Errorf("search %q finds %d", search, got.Total)
		}
	}
	for _, by := range []string{"username", "created_at", "expires_at", "status", "consecutive_failures", "last_used"} {
		up := get[keyList](t, i, "/admin/api-keys?pageSize=3&sort="+by)
		down := get[keyList](t, i, "/admin/api-keys?pageSize=3&sort=-"+by)
		if up.Total != manyKeys || len(up.Keys) != 3 || len(down.Keys) != 3 {
			t.Errorf("sorted by %s: %d keys", by, up.Total)
		}
		if by == "username" && (up.Keys[0].Username != "user000000@g00.example.invalid" || down.Keys[0].Username != "user099999@g99.example.invalid") {
			t.Errorf("by name from %s to %s", up.Keys[0].Username, down.Keys[0].Username)
		}
	}
	want[any](t, i, http.StatusBadRequest, call{method: "GET", path: "/admin/api-keys?sort=password"})
	if got := get[keyList](t, i, "/admin/api-keys?status=failed"); got.Total != 0 || got.Keys == nil {
		t.Errorf("failed keys: %+v", got)
	}
}

// figuresOfMany asks for every figure there is.
func figuresOfMany(t *testing.T, i *Instance, token string) {
	t.Helper()
	type stats struct{ Total int }
	if got := get[stats](t, i, "/admin/keys/stats?page=400&pageSize=200"); got.Total != manyKeys {
		t.Errorf("statistics of %d keys", got.Total)
	}
	if got := i.Totals(gateway.Ollama); got.TotalKeys != manyKeys || got.ActiveKeys != manyKeys || got.TotalTokens != 1 {
		t.Errorf("totals %+v", got)
	}
	type overview struct {
		Verdict struct{ Verdict string }
		States  struct{ Active, Total int }
	}
	if got := get[overview](t, i, "/admin/overview?range=24h"); got.States.Total != manyKeys+1000 || got.Verdict.Verdict != "healthy" {
		t.Errorf("overview %+v", got)
	}
	type table struct{ Total int }
	type analytics struct{ Rows struct{ Keys, Tokens int } }
	tokens := get[table](t, i, "/admin/analytics/tokens?range=30d&provider=all").Total // those that were used
	if got := get[analytics](t, i, "/admin/analytics?range=30d&provider=all"); got.Rows.Keys != manyKeys+1000 || got.Rows.Tokens != tokens {
		t.Errorf("analytics %+v, and the table of tokens has %d rows", got, tokens)
	}
	if got := get[table](t, i, "/admin/analytics/keys?provider=all&page=300"); got.Total != manyKeys+1000 {
		t.Errorf("the table of keys has %d", got.Total)
	}
	type story struct {
		Username, Why string
		Events        []struct{ What, Detail string }
	}
	got := get[story](t, i, "/admin/api-keys/"+idOf(manyKey(77)))
	if got.Username != "user000077@g77.example.invalid" || len(got.Events) != 1 || !strings.HasPrefix(got.Events[0].Detail, "by import") {
		t.Errorf("the story of a key: %+v", got)
	}
	searchAnswers(t, i, map[string]string{"key": idOf(manyKey(77)), "token": idOfToken(token)})
}

// exports writes all keys out, masked, and some of them whole.
func exports(t *testing.T, i *Instance) {
	t.Helper()
	for _, format := range []string{"txt", "csv", "jsonl"} {
		got, err := i.Ask(t.Context(), call{method: "GET", path: "/admin/api-keys/export?format=" + format})
		lines := bytes.Count(got.Body, []byte("\n"))
		if format == "csv" {
			lines--
		}
		if err != nil || lines != manyKeys {
			t.Errorf("%s: %d lines, %v", format, lines, err)
		}
	}
	if strings.Contains(i.Err.String(), "exported whole") {
		t.Error("a masked export is logged as a whole one")
	}
	// Whole keys are asked for: the one place where they may be seen.
	status, whole, err := do(t.Context(), "GET", i.URL()+"/admin/api-keys/export?reveal=true&search=@g42.", i.AdminToken(), nil)
	if err != nil || status != http.StatusOK || bytes.Count(whole, []byte(manyMark)) != manyKeys/100 || bytes.Contains(whole, []byte(linePassword)) {
		t.Errorf("a whole export: %d, %d keys, %v", status, bytes.Count(whole, []byte(manyMark)), err)
	}
	i.said("keys exported whole")
	got := want[imported](t, i, http.StatusOK, withText("/admin/api-keys/import-from-txt?dryRun=true", string(whole)))
	if got.Existing != manyKeys/100 || got.Added+got.InvalidTotal != 0 || got.Preview[0].Username == "" {
		t.Errorf("the export imported again: %+v", got)
	}
}

// changesInBulk changes keys by what they are.
func changesInBulk(t *testing.T, i *Instance) {
	t.Helper()
	const group = manyKeys / 100
	some := func(search string, more ...any) map[string]any {
		body := map[string]any{"filter": map[string]any{"search": search}}
		for n := 0; n < len(more); n += 2 {
			body[more[n].(string)] = more[n+1]
		}
		return body
	}
	disabled := func() int { return get[keyList](t, i, "/admin/api-keys?status=disabled&pageSize=1").Total }
	if got := post[changed](t, i, "/admin/keys/disable?dryRun=true", some("@g07.", "expect", group)); !got.DryRun || got.Changed != group || disabled() != 0 {
		t.Errorf("a dry run: %+v, %d are disabled", got, disabled())
	}
	want[any](t, i, http.StatusConflict, withJSON("POST", "/admin/keys/disable", some("@g07.", "expect", group-1)))
	want[any](t, i, http.StatusBadRequest, withJSON("POST", "/admin/keys/disable", map[string]any{"filter": map[string]any{}}))
	want[any](t, i, http.StatusConflict, withJSON("DELETE", "/admin/api-keys", some("@g08.", "expect", 0)))
	if n := disabled(); n != 0 {
		t.Errorf("refused calls disabled %d keys", n)
	}
	if got := post[changed](t, i, "/admin/keys/disable", some("@g07.", "expect", group, "duration", 0)); got.Changed != group || disabled() != group {
		t.Errorf("%+v, %d are disabled", got, disabled())
	}
	byStatus := map[string]any{"filter": map[string]any{"status": "disabled", "search": "user0007"}, "expect": 1}
	if got := post[changed](t, i, "/admin/keys/enable", byStatus); got.Changed != 1 || disabled() != group-1 {
		t.Errorf("%+v, %d are disabled", got, disabled())
	}
	if got := post[changed](t, i, "/admin/keys/clear-rest", map[string]any{"filter": map[string]any{"status": "all"}, "expect": manyKeys}); got.Changed != 0 {
		t.Errorf("none rests, and %+v", got)
	}
	began := time.Now()
	if got := post[changed](t, i, "/admin/keys/disable", map[string]any{"filter": map[string]any{"status": "active"}}); got.Changed != manyKeys-group+1 {
		t.Errorf("%+v", got)
	}
	if got := get[keyList](t, i, "/admin/api-keys?status=active"); got.Total != 0 {
		t.Errorf("%d keys are active after %v", got.Total, time.Since(began))
	}
	gone := some("@g07.", "expect", group)
	for _, search := range []string{"@g07.", "@g08."} {
		gone["filter"] = map[string]any{"search": search}
		if got := want[changed](t, i, http.StatusOK, withJSON("DELETE", "/admin/api-keys?dryRun=true", gone)); got.Deleted != group {
			t.Errorf("%+v", got)
		}
		if got := want[changed](t, i, http.StatusOK, withJSON("DELETE", "/admin/api-keys", gone)); got.Deleted != group {
			t.Errorf("%+v", got)
		}
	}
	if got := get[keyList](t, i, "/admin/api-keys?pageSize=1"); got.Total != manyKeys-2*group {
		t.Errorf("%d keys are left", got.Total)
	}
}
