package httpkit

import (
	"net/http"
	"testing"
)

func TestHarden(t *testing.T) {
	h := Chain(func(w http.ResponseWriter, _ *http.Request) error {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}, Harden("default-src 'none'", "no-referrer"))
	res, _, err := ask(t, serve(t, Entry(h, WriteAdminError)))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"Content-Security-Policy": "default-src 'none'", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY",
	} {
		if got := res.Header.Values(name); len(got) != 1 || got[0] != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

func TestUnchanged(t *testing.T) {
	url := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !Unchanged(w, r, `"a"`) {
			_, _ = w.Write([]byte("body"))
		}
	}))
	for known, status := range map[string]int{
		`"a"`: 304, `W/"a"`: 304, ` "x" ,W/"a"`: 304, "*": 304, `"x"`: 200, "": 200, "a": 200, `"A"`: 200, `"a`: 200,
	} {
		res, body, err := ask(t, url, "If-None-Match", known)
		if err != nil || res.StatusCode != status || res.Header.Get("Etag") != `"a"` || (body == "") != (status == 304) {
			t.Errorf("If-None-Match %s: %d %q %v", known, res.StatusCode, body, err)
		}
	}
	if res, _, err := ask(t, url, "If-None-Match", `"x"`, "If-None-Match", `"a"`); err != nil || res.StatusCode != 304 {
		t.Errorf("in the second line: %v %v", res, err)
	}
}
