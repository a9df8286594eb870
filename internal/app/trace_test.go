package app_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/testkit"
)

// A client that asks for a trace finds its request in the log, also when it
// went well at once, with the key that served; the header stays here.
func TestTraceOfASuccess(t *testing.T) {
	for mode, kept := range map[string]bool{"failures": true, "all": true, "off": false} {
		t.Run(mode, func(t *testing.T) {
			p := start(t, "REQUEST_LOG="+mode)
			p.addKeys(gateway.Ollama, 1)
			p.up.Handle(func(c *testkit.Call) testkit.Answer {
				if got := c.Header.Get("X-Pool-Trace"); got != "" {
					t.Errorf("the upstream got X-Pool-Trace: %s", got)
				}
				return testkit.JSON(200, done)
			})
			plain, traced := p.post("/v1/chat/completions", chat), p.post("/v1/chat/completions", chat, "X-Pool-Trace", "true")
			equal(t, "status", traced.Status, 200)
			find := func(of testkit.RawResponse) testkit.RawResponse {
				return testkit.RawRequest(t, p.addr, testkit.HTTP11(http.MethodGet, "/admin/requests/"+of.Header.Get("X-Request-Id"), "", "Authorization", "Bearer "+adminToken))
			}
			// The client can be faster than the writer, which nothing announces.
			got := find(traced)
			for until := time.Now().Add(soon); kept && got.Status == 404 && time.Now().Before(until); time.Sleep(20 * time.Millisecond) {
				got = find(traced)
			}
			if !kept {
				p.stop(soon) // writes down what there is
				p.open()
				equal(t, "a trace with the log switched off", find(traced).Status, 404)
				return
			}
			if got.Status != 200 || !strings.Contains(string(got.Body), `"key":"`+string(idOf(0))+`"`) {
				t.Errorf("%d %s", got.Status, got.Body)
			}
			equal(t, "without a trace", find(plain).Status == 200, mode == "all")
		})
	}
}
