package admin

import (
	"encoding/csv"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
)

// busyScene is a scene with six models, two tokens and three keys.
func busyScene(t *testing.T) *figuresScene {
	t.Helper()
	s := newFiguresScene(t)
	for i, model := range []string{"m1", "m2", "m3", "m4", "m5", "=cmd|'calc'!A1"} {
		n := int64(10 * (6 - i))
		s.apply(requested(gateway.Ollama, model, "sk-one", date(9, 13, 0), tallied(n, int64(i), time.Duration(i+1)*time.Second, 100*time.Millisecond)))
	}
	s.apply(requested(gateway.OpenRouter, "m1", "sk-two", date(9, 12, 0), tallied(35, 0, time.Second, 100*time.Millisecond)))
	if err := s.store.AddToken(t.Context(), gateway.Token{
		Hash: gateway.HashToken("sk-one"), Preview: "sk-o…ne", Name: "+team", Providers: gateway.Providers(), CreatedAt: s.clock.at, LastUsed: s.clock.at,
	}); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestAnalytics(t *testing.T) {
	s := busyScene(t)
	s.live.standing[gateway.Ollama] = Standing{Enabled: true, Keys: states(2, 1, 0, 0, 0)}
	var a analyticsAnswer
	s.read("/admin/analytics?tz=Asia/Kolkata", &a)
	if a.Totals.Requests != 245 || a.Totals.AttemptsEach != 1.1 || a.Totals.TokensInEach != 100 || a.Totals.TokensOutEach != 20 || a.Totals.Failure != 15 {
		t.Errorf("totals %+v", a.Totals)
	}
	if a.Rows != (analyticsCounts{Models: 7, Keys: 3, Tokens: 2}) {
		t.Errorf("rows %+v", a.Rows)
	}
	if len(a.Points) != 24 || a.Points[22].Label != "18:30" || !a.Points[22].At.Equal(date(9, 13, 0)) {
		t.Errorf("points %+v", a.Points)
	}
	var top []string
	for _, of := range a.Series {
		var sum int64
		for _, n := range of.Requests {
			sum += n
		}
		top = append(top, fmt.Sprint(of.Provider, " ", of.Model, " ", sum, " ", of.Requests[21], " ", of.Requests[22], " ", of.Failure[22]))
	}
	if want := []string{"ollama m1 60 0 60 0", "ollama m2 50 0 50 1", "ollama m3 40 0 40 2", "openrouter m1 35 35 0 0", "ollama m4 30 0 30 3"}; !slices.Equal(top, want) {
		t.Errorf("series %q", top)
	}
	if len(a.Rest) != 24 || a.Rest[22] != 30 || a.Rest[21] != 0 {
		t.Errorf("the rest %v", a.Rest)
	}
}

func TestModelsTable(t *testing.T) {
	s := busyScene(t)
	names := func(query string) (names []string, of modelsAnswer) {
		s.read("/admin/analytics/models?"+query, &of)
		for _, m := range of.Models {
			names = append(names, string(m.Provider[:2])+m.Model)
		}
		return names, of
	}
	got, of := names("")
	if want := []string{"olm1", "olm2", "olm3", "opm1", "olm4", "olm5", "ol=cmd|'calc'!A1"}; !slices.Equal(got, want) || of.Total != 7 || of.TotalPages != 1 {
		t.Errorf("%q %+v", got, of.pagesAnswer)
	}
	m := of.Models[1]
	if m.Requests != 50 || m.Success != 49 || m.Failure != 1 || m.SuccessRate != "98.00" || m.Share != 20.41 || m.Attempts != 55 || m.TokensIn != 5000 || m.Cost != 0.05 ||
		m.Duration == nil || !m.LastUsed.Equal(date(9, 13, 0)) || m.FirstByte == nil {
		t.Errorf("m2: %+v", m)
	}
	// What named no model, or none that was found, is among all requests, too.
	s.apply(gateway.Delta{Provider: gateway.OpenRouter, Tallies: []gateway.TallyDelta{{Of: gateway.OfProvider, Minute: date(9, 12, 0), Tally: tallied(245, 245, time.Second, 0)}}})
	if _, of := names("pageSize=2"); of.Models[1].Share != 10.2 {
		t.Errorf("with others: %+v", of.Models[1])
	}
	var o overviewAnswer
	if s.read("/admin/overview", &o); o.TopModels[1].Share != 10.2 {
		t.Errorf("in the overview: %+v", o.TopModels[1])
	}
	for query, want := range map[string][]string{
		"sort=requests&pageSize=2":                   {"ol=cmd|'calc'!A1", "olm5"},
		"sort=-failure&pageSize=3&page=2":            {"olm3", "olm2", "olm1"},
		"sort=-duration.p95&pageSize=2":              {"ol=cmd|'calc'!A1", "olm5"},
		"sort=name&pageSize=2":                       {"ol=cmd|'calc'!A1", "olm1"},
		"sort=lastUsed&pageSize=1":                   {"opm1"},
		"provider=openrouter":                        {"opm1"},
		"page=9":                                     nil,
		"sort=-successRate&pageSize=1&page=3":        {"olm2"},
		"range=30d&sort=-tokensOut&pageSize=1":       {"olm1"},
		"range=1h":                                   nil,
		"range=7d&tz=Asia/Kathmandu&pageSize=1":      {"olm1"},
		"sort=-firstByte.p50&provider=openrouter":    {"opm1"},
		"sort=-attempts&pageSize=1&range=30d&tz=UTC": {"olm1"},
	} {
		if got, _ := names(query); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
}

func TestTokensTable(t *testing.T) {
	s := busyScene(t)
	var a tokensUseAnswer
	s.read("/admin/analytics/tokens", &a)
	if len(a.Tokens) != 2 || a.Total != 2 {
		t.Fatalf("%+v", a)
	}
	if x := a.Tokens[0]; x.Name != "+team" || x.Token != "sk-o…ne" || x.ID != tokenID(gateway.HashToken("sk-one")) || x.Requests != 210 || x.Provider != "ollama" || x.Share != 85.71 {
		t.Errorf("%+v", x)
	}
	if x := a.Tokens[1]; x.Name != "" || x.Token != "" || x.Requests != 35 {
		t.Errorf("a token that is gone: %+v", x)
	}
	// Of the last hour the hours that it touches.
	s.read("/admin/analytics/tokens?range=1h", &a)
	if len(a.Tokens) != 1 || a.Tokens[0].Requests != 210 {
		t.Errorf("the last hour: %+v", a.Tokens)
	}
}

func TestKeysTable(t *testing.T) {
	s := newFiguresScene(t)
	var secrets []gateway.Secret
	d := gateway.Delta{Provider: gateway.Ollama, Tallies: []gateway.TallyDelta{{Of: gateway.OfProvider, Minute: date(9, 0, 0), Tally: gateway.Tally{Attempts: 400}}}}
	for i := range 5 {
		secret := gateway.Secret(fmt.Sprintf("fake-key-of-the-table-%d", i))
		secrets = append(secrets, secret)
		if i < 3 {
			id := gateway.IDOfKey(secret)
			n := int64(100 - 10*i)
			d.Keys = append(d.Keys, gateway.KeyDelta{Key: id, Counts: gateway.KeyCounts{Total: n, Success: n - int64(i), Failure: int64(i), LastUsed: date(9, i, 0)}})
			d.Tallies = append(d.Tallies, gateway.TallyDelta{Of: gateway.OfKey, Name: string(id), Tally: tallied(n, 0, time.Second, time.Second)})
		}
	}
	s.live.standing[gateway.Ollama] = Standing{Enabled: true, Keys: states(5, 0, 0, 0, 0)}
	s.live.standing[gateway.OpenRouter] = Standing{Enabled: true, Keys: states(1, 0, 0, 0, 0)}
	s.addKeys(gateway.Ollama, secrets...)
	s.apply(d)
	s.addKeys(gateway.OpenRouter, "fake-key-of-openrouter-0")
	s.apply(gateway.Delta{Provider: gateway.OpenRouter, Keys: []gateway.KeyDelta{{Key: gateway.IDOfKey("fake-key-of-openrouter-0"), Counts: gateway.KeyCounts{Total: 95, Success: 95}}}})

	order := func(query string) (keys []string, a keysUseAnswer) {
		s.read("/admin/analytics/keys?"+query, &a)
		for _, k := range a.Keys {
			keys = append(keys, fmt.Sprint(string(k.Provider[:2]), k.Requests))
		}
		return keys, a
	}
	got, a := order("")
	if want := []string{"ol100", "op95", "ol90", "ol80", "ol0", "ol0"}; !slices.Equal(got, want) || a.Total != 6 {
		t.Errorf("%q of %d", got, a.Total)
	}
	k := a.Keys[2]
	if k.APIKey != "fake-k…le-1" || k.Username != "user-1@fake.example" || k.Status != gateway.KeyActive || k.Failure != 1 || k.SuccessRate != "98.89" || k.Share != 22.5 ||
		k.Attempts != 90 || k.TokensIn != 9000 || k.Duration == nil || !k.LastUsed.Equal(date(9, 1, 0)) {
		t.Errorf("%+v", k)
	}
	for query, want := range map[string][]string{
		"provider=ollama&pageSize=2&page=2":        {"ol80", "ol0"},
		"provider=ollama&pageSize=2&page=3":        {"ol0"},
		"provider=ollama&pageSize=2&page=4":        nil,
		"provider=ollama&sort=-failure&pageSize=1": {"ol80"},
		"provider=ollama&sort=lastUsed&pageSize=3": {"ol100", "ol90", "ol80"},
		"provider=openrouter":                      {"op95"},
		"pageSize=2&page=2":                        {"ol90", "ol80"},
		"sort=-success&pageSize=2":                 {"ol100", "op95"},
		"sort=requests":                            {"ol80", "ol90", "op95", "ol100", "ol0", "ol0"},
		"sort=lastUsed":                            {"ol100", "ol90", "ol80", "op95", "ol0", "ol0"},
	} {
		if got, _ := order(query); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
	for _, by := range []string{"requests", "-requests", "success", "-failure", "lastUsed", "-lastUsed"} {
		want, _ := order("sort=" + by)
		column, descending := strings.CutPrefix(by, "-")
		all := newRanking(s.api, &table{chosen: gateway.Providers(), by: column, descending: descending}, 2)
		var got []string
		for {
			part, err := all.next(t.Context())
			if err != nil || len(part) > 2 {
				t.Fatal(len(part), err)
			}
			if len(part) == 0 {
				break
			}
			for _, k := range part {
				got = append(got, fmt.Sprint(string(k.provider[:2]), k.key.Counts.Total))
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("all by %s, two at a time: %q, want %q", by, got, want)
		}
	}
}

func TestExport(t *testing.T) {
	s := busyScene(t)
	s.addKeys(gateway.Ollama, "fake-key-of-the-export-1", "fake-key-of-the-export-2")
	s.live.standing[gateway.Ollama] = Standing{Enabled: true, Keys: states(2, 0, 0, 0, 0)}
	export := func(address string) [][]string {
		t.Helper()
		w := s.get(address)
		if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "text/csv; charset=utf-8" || !strings.HasPrefix(w.Header().Get("Content-Disposition"), "attachment; filename=") {
			t.Fatalf("%s: %d %v", address, w.Code, w.Header())
		}
		rows, err := csv.NewReader(w.Body).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		return rows
	}
	rows := export("/admin/analytics/models?format=csv&pageSize=1")
	if len(rows) != 8 || rows[0][0] != "model" || len(rows[0]) != 15 || rows[7][0] != "'=cmd|'calc'!A1" {
		t.Errorf("%q", rows)
	}
	if want := []string{"m2", "ollama", "50", "49", "1", "98.00", "20.41", "55", "5000", "1000", "0.05", "2050", "2455", "80", "98"}; !slices.Equal(rows[2], want) {
		t.Errorf("%q", rows[2])
	}
	rows = export("/admin/analytics/tokens?format=csv")
	if len(rows) != 3 || rows[1][1] != "'+team" {
		t.Errorf("%q", rows)
	}
	rows = export("/admin/analytics/keys?format=csv&provider=ollama")
	if len(rows) != 3 || rows[1][1] != "fake-k…rt-1" && rows[1][1] != "fake-k…rt-2" || rows[0][2] != "username" || rows[1][14] != "" {
		t.Errorf("%q", rows)
	}
}

func TestPlainCells(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "plain": "plain", "=1+1": "'=1+1", "+1": "'+1", "-1": "'-1", "@x": "'@x", "\t=1": "'\t=1", "\r=1": "'\r=1", "a=b": "a=b",
	} {
		if got := plainCell(in); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
}
