package provider

import (
	"slices"
	"testing"

	"ollama-api-pool/internal/gateway"
)

// checkVerdict holds for every verdict, whatever the upstream sent.
func checkVerdict(t *testing.T, a *Adapter, v gateway.Verdict) {
	t.Helper()
	if !slices.ContainsFunc(a.rules, func(r Rule) bool { return r.Reason == v.Reason }) {
		t.Fatalf("the reason %q is none of ours", v.Reason)
	}
	if !v.Until.IsZero() && (!v.Until.After(now) || v.Until.After(now.Add(longestRest))) {
		t.Fatalf("rests until %s", v.Until)
	}
	rests := v.Action == gateway.ActionRest || v.Action == gateway.ActionRestKey
	if !rests && !v.Until.IsZero() || !v.Until.IsZero() && v.For != 0 {
		t.Fatalf("an end without a rest, or two: %+v", v)
	}
	_, _, _ = v.Scope.String(), v.Action.String(), v.Next.String()
}

func FuzzJudge(f *testing.F) {
	for _, g := range slices.Concat(anyGolden, ollamaGolden, openRouterGolden) {
		f.Add(g.status, g.header.Get("Content-Type"), g.header.Get("Content-Encoding"), g.header.Get("Retry-After"),
			g.header.Get("X-RateLimit-Reset"), []byte(g.body))
	}
	f.Add(429, "", "", "1e309", "0x10", []byte(`{"error":{"metadata":{"resets_at":1e999}}}`))
	f.Add(403, "a;b", "br", "", "", []byte("data:\ndata: \"\\ud800\""))
	ollama, openRouter := newAdapter(f, gateway.Ollama), newAdapter(f, gateway.OpenRouter)
	f.Fuzz(func(t *testing.T, status int, contentType, encoding, retryAfter, reset string, body []byte) {
		answer := Answer{
			Status: status, Now: now, Body: body,
			Header: header("Content-Type", contentType, "Content-Encoding", encoding, "Retry-After", retryAfter, "X-RateLimit-Reset", reset),
		}
		for _, a := range []*Adapter{ollama, openRouter} {
			before := string(body)
			v := a.Judge(answer)
			checkVerdict(t, a, v)
			if v.OK != (status >= 200 && status <= 299) {
				t.Fatalf("status %d: OK is %v", status, v.OK)
			}
			if a.Judge(answer) != v || string(body) != before {
				t.Fatal("the same answer was judged in two ways, or changed")
			}
			if status == 500 && v.Scope != gateway.ScopeProvider {
				t.Fatalf("an upstream's fault was blamed on %v", v.Scope)
			}
			a.ProbeVerdict(status, body)
		}
	})
}

func FuzzJudgeEvent(f *testing.F) {
	for _, g := range slices.Concat(anyGolden, ollamaGolden, openRouterGolden) {
		f.Add([]byte(g.body))
	}
	f.Add([]byte(`{"type":"error","code":429}`))
	f.Add([]byte(`{"choices":[{"error":{"code":502}}]}`))
	f.Add([]byte(`{"a":"error"}`))
	f.Add([]byte(`[DONE]`))
	ollama, openRouter := newAdapter(f, gateway.Ollama), newAdapter(f, gateway.OpenRouter)
	f.Fuzz(func(t *testing.T, payload []byte) {
		for _, a := range []*Adapter{ollama, openRouter} {
			v, is := a.JudgeEvent(payload, now)
			switch {
			case !is && v != (gateway.Verdict{}):
				t.Fatalf("a verdict of no error: %+v", v)
			case is && v.OK:
				t.Fatal("an error that is a success")
			case is:
				checkVerdict(t, a, v)
			}
		}
	})
}
