package cli

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestHealthcheck(t *testing.T) {
	p := stopped(t)
	p.env = append(p.env, "LISTEN_ADDR=127.0.0.1:0")
	p.fails(t, exitFailed, "find the running instance", "", "healthcheck")
	url, stop := startAndStop(t, p)
	_, port, err := net.SplitHostPort(strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]result{
		"a free port":     p.ok(t, "", "healthcheck"),
		"every interface": place{env: []string{"LISTEN_ADDR=:" + port}}.ok(t, "", "healthcheck"),
		"an address":      place{env: []string{"LISTEN_ADDR=127.0.0.1:" + port, "HTTP_PROXY=http://127.0.0.1:1"}}.ok(t, "", "healthcheck"),
		"named":           place{}.ok(t, "", "healthcheck", "--url", url+"/"),
	} {
		if r.out != "ready\n" || r.err != "" {
			t.Errorf("%s: %q, %q", name, r.out, r.err)
		}
	}
	stop()
	place{env: []string{"LISTEN_ADDR=127.0.0.1:" + port}}.fails(t, exitFailed, "ask http://127.0.0.1:"+port+": ", "", "healthcheck")
	place{env: []string{"LISTEN_ADDR=nowhere"}}.fails(t, exitFailed, "LISTEN_ADDR", "", "healthcheck")
	for _, bad := range []string{"", "127.0.0.1:80", "http://127.0.0.1/?a"} {
		place{}.fails(t, exitUsage, "--url must be an address", "", "healthcheck", "--url", bad)
	}
}

// An instance that starts or stops, and one that is silent, are not healthy.
func TestHealthcheckOfAnotherState(t *testing.T) {
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		words   string
	}{
		"not ready": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }, "is not ready"},
		"moved":     {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/health", http.StatusFound) }, "is not ready"},
		"silent":    {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "no answer in time"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := httptest.NewServer(c.handler)
			defer s.Close()
			place{}.fails(t, exitFailed, c.words, "", "healthcheck", "--url", s.URL)
		})
	}
}
