package sqlstore

import (
	"strings"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
)

// conformKeyRanks puts used keys in the order of their counts, and those that
// were never used behind them.
func conformKeyRanks(t *testing.T, open openStore) {
	s := open(Options{})
	add(t, s, gateway.Ollama, someKeys(0, 6)...)
	d := gateway.Delta{Provider: gateway.Ollama}
	for n, c := range []gateway.KeyCounts{
		{Total: 5, Success: 1, Failure: 4, LastUsed: noon.Add(2 * time.Hour)},
		{Total: 9, Success: 9, LastUsed: noon},
		{Total: 7, Success: 4, Failure: 3, LastUsed: noon.Add(time.Hour)},
	} {
		d.Keys = append(d.Keys, gateway.KeyDelta{Key: gateway.IDOfKey(secretOf(n)), Counts: c})
	}
	apply(t, s, d)
	ranks := func(by string, ascending bool, offset, limit int) string {
		t.Helper()
		keys, total, err := s.KeyRanks(t.Context(), gateway.Ollama, by, ascending, offset, limit)
		if err != nil || total != 6 {
			t.Fatalf("%d in all, %v", total, err)
		}
		var names []string
		for _, k := range keys {
			names = append(names, strings.TrimSuffix(strings.TrimPrefix(k.Username, "user"), "@example.com"))
		}
		return strings.Join(names, "")
	}
	for _, c := range []struct {
		by            string
		ascending     bool
		offset, limit int
		want          string
	}{
		{"requests", false, 0, 3, "120"},
		{"requests", true, 0, 3, "021"},
		{"success", false, 0, 2, "12"},
		{"failure", false, 0, 3, "021"},
		{"lastUsed", false, 0, 3, "021"},
		{"lastUsed", true, 1, 2, "20"},
		{"requests", false, 6, 3, ""},
		{"requests", false, -1, 1, "1"},
	} {
		if got := ranks(c.by, c.ascending, c.offset, c.limit); got != c.want {
			t.Errorf("%+v: %q", c, got)
		}
	}
	// Every key is on one page, however they are cut.
	for limit := 1; limit < 7; limit++ {
		seen := ""
		for offset := 0; offset < 6; offset += limit {
			seen += ranks("requests", false, offset, limit)
		}
		if len(seen) != 6 || seen[:3] != "120" || !strings.Contains(seen, "3") || !strings.Contains(seen, "4") || !strings.Contains(seen, "5") {
			t.Errorf("pages of %d: %q", limit, seen)
		}
	}
	if all := ranks("requests", false, 0, 0); len(all) != 6 {
		t.Errorf("all on one page: %q", all)
	}
	keys, _, err := s.KeyRanks(t.Context(), gateway.Ollama, "requests", false, 0, 1)
	if err != nil || keys[0].Secret != secretOf(1) || keys[0].Counts.Total != 9 || !keys[0].Counts.LastUsed.Equal(noon) {
		t.Errorf("%+v, %v", keys[0].Counts, err)
	}
	_, _, err = s.KeyRanks(t.Context(), gateway.Ollama, "api_key; drop table", false, 0, 1)
	wantKind(t, "an order that there is not", err, gateway.KindInvalid)
}

// conformCountRequests counts what Requests lists.
func conformCountRequests(t *testing.T, open openStore) {
	s := open(Options{})
	logged(t, s, logEntry("one", gateway.Ollama), retried("two"), logEntry("three", gateway.Ollama))
	for _, c := range []struct {
		q    gateway.LogQuery
		most int
		want int
	}{
		{gateway.LogQuery{}, 10, 3},
		{gateway.LogQuery{}, 2, 2},
		{gateway.LogQuery{Retried: true}, 10, 1},
		{gateway.LogQuery{Provider: gateway.OpenRouter}, 10, 0},
		{gateway.LogQuery{Limit: 1}, 10, 3},
	} {
		if n, err := s.CountRequests(t.Context(), c.q, c.most); n != c.want || err != nil {
			t.Errorf("%+v: %d, %v; want %d", c.q, n, err, c.want)
		}
	}
	_, err := s.CountRequests(t.Context(), gateway.LogQuery{After: "x"}, 1)
	wantKind(t, "a cursor that makes no sense", err, gateway.KindInvalid)
}
