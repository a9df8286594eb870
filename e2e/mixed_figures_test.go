package e2e

import (
	"maps"
	"net/http"
	"regexp"
	"strconv"
	"testing"

	"ollama-api-pool/internal/gateway"
)

// metricSum adds up one of the program's own metrics.
func metricSum(t *testing.T, i *Instance, name string, p gateway.ProviderName) (sum int) {
	t.Helper()
	status, text, err := do(t.Context(), http.MethodGet, i.URL()+"/metrics", i.AdminToken(), nil)
	if err != nil || status != http.StatusOK {
		t.Fatalf("/metrics: %d %v", status, err)
	}
	lines := regexp.MustCompile(`(?m)^[a-z_]*_` + name + `\{[^}]*provider="` + string(p) + `"[^}]*\} (\S+)$`)
	for _, m := range lines.FindAllSubmatch(text, -1) {
		n, err := strconv.ParseFloat(string(m[1]), 64)
		if err != nil {
			t.Fatal(err)
		}
		sum += int(n)
	}
	return sum
}

// counted is what the statistics say of anything.
type counted struct {
	Requests, Success, Failure, Attempts, TokensIn int
}

// compareTotals compares what was counted of clients' requests with what the
// clients know, in the plain totals and in the statistics.
func compareTotals(t *testing.T, i *Instance, p gateway.ProviderName, b *mixedBook) {
	t.Helper()
	got := i.Totals(p)
	through := got.SuccessCount - b.success // of those that were broken off in the middle
	if got.TotalRequests != b.requests || got.FailureCount != b.failure || through < 0 || through > b.either {
		t.Errorf("%s: counted %+v; made %d requests, %d well, %d in vain, broke off %d and %d", p, got,
			b.requests, b.success, b.failure, b.neither, b.either)
	}
	type figures struct {
		Totals counted
		Series []struct{ Requests, Failure []int }
		Rest   []int
	}
	want := counted{Requests: got.TotalRequests, Success: got.SuccessCount, Failure: got.FailureCount, Attempts: b.attempts}
	for _, span := range []string{"24h", "7d", "30d"} {
		f := Admin[figures](t, i, "GET", "/admin/analytics?range="+span+"&provider="+string(p), nil)
		f.Totals.TokensIn = 0
		if f.Totals != want {
			t.Errorf("%s over %s: %+v, in total %+v", p, span, f.Totals, want)
		}
		series := sumOf(f.Rest)
		for _, s := range f.Series {
			series += sumOf(s.Requests)
		}
		if series != want.Requests {
			t.Errorf("%s over %s: the series add up to %d, in total %d", p, span, series, want.Requests)
		}
	}
	type public struct{ HourlyTrend []counted }
	var hours counted
	for _, h := range Admin[public](t, i, "GET", "/admin/public-stats?provider="+string(p), nil).HourlyTrend {
		hours.Requests += h.Requests
		hours.Success += h.Success
		hours.Failure += h.Failure
	}
	if want.Attempts = 0; hours != want {
		t.Errorf("%s: the hours add up to %+v, in total %+v", p, hours, want)
	}
}

func sumOf(all []int) (sum int) {
	for _, n := range all {
		sum += n
	}
	return sum
}

// compareModels compares the models' requests, and the tokens of the one of
// which nothing was broken off.
func compareModels(t *testing.T, i *Instance, p gateway.ProviderName, b *mixedBook) {
	t.Helper()
	type table struct {
		Models []struct {
			Model string
			counted
		}
	}
	got, attempts := map[string]int{}, 0
	for _, m := range Admin[table](t, i, "GET", "/admin/analytics/models?range=24h&pageSize=200&provider="+string(p), nil).Models {
		got[m.Model] = m.Requests
		attempts += m.Attempts
		if m.Model == mixedFaces[p].embed && m.TokensIn != b.embedIn {
			t.Errorf("%s %s: counted %d tokens, the answers told %d", p, m.Model, m.TokensIn, b.embedIn)
		}
	}
	if !maps.Equal(got, b.models) {
		t.Errorf("%s by model: counted %v, made %v", p, got, b.models)
	}
	if attempts > b.attempts {
		t.Errorf("%s: %d attempts for models, %d in all", p, attempts, b.attempts)
	}
}

// compareTokens compares the tokens' requests.
func compareTokens(t *testing.T, i *Instance, tokens []string, books map[gateway.ProviderName]*mixedBook) {
	t.Helper()
	type table struct {
		Tokens []struct {
			ID string
			counted
		}
	}
	sums := map[string]counted{}
	for _, row := range Admin[table](t, i, "GET", "/admin/analytics/tokens?range=24h&provider=all", nil).Tokens {
		of := sums[row.ID]
		of.Requests += row.Requests
		sums[row.ID] = of
	}
	known := i.Tokens()
	for _, token := range tokens {
		made := 0
		for _, b := range books {
			made += b.tokens[token]
		}
		id := idOfToken(token)
		if known[id].RequestCount != made || sums[id].Requests != made {
			t.Errorf("token %s: counted %d, in the table %d, made %d", id, known[id].RequestCount, sums[id].Requests, made)
		}
	}
}

func idOfToken(token string) string {
	t := gateway.Token{Hash: gateway.HashToken(gateway.Secret(token))}
	return t.ID()
}

// compareAttempts compares each key's counts with the upstream's own log, and
// their sum with what the answers told.
func compareAttempts(t *testing.T, i *Instance, up *upstream, left *leavable, p gateway.ProviderName, b *mixedBook) {
	t.Helper()
	total, well, held, all := map[string]int{}, map[string]int{}, map[string]int{}, 0
	name := func(key string) string { return string(gateway.IDOfKey(gateway.Secret(key))) }
	for call, n := range up.Calls() {
		total[name(call.Key)] += n
		if call.Status == http.StatusOK {
			well[name(call.Key)] += n
		}
	}
	for _, log := range []map[string]int{left.silent, left.refused} {
		for key, n := range log {
			total[name(key)] += n
		}
	}
	for _, log := range []map[string]int{left.silent, left.held} {
		for key, n := range log {
			held[name(key)] += n
		}
	}
	silent := map[string]int{}
	for key, n := range left.silent {
		silent[name(key)] += n
	}
	broken := 0
	for id, got := range i.KeyNumbers(p) {
		all += got.TotalRequests
		neither := got.TotalRequests - got.SuccessCount - got.FailureCount
		broken += neither
		inVain := total[id] - well[id] - silent[id]
		if got.TotalRequests != total[id] || got.FailureCount != inVain || neither < held[id] {
			t.Errorf("%s key %s: counted %+v; the upstream was asked %d times, answered %d well and %d badly, and %d times nobody waited",
				p, id, got, total[id], well[id], inVain, held[id])
		}
	}
	if all != b.attempts {
		t.Errorf("%s: %d attempts of keys, the answers told %d", p, all, b.attempts)
	}
	if broken < b.neither || broken > b.neither+b.either {
		t.Errorf("%s: %d attempts count as broken off; clients broke off %d requests and %d more in the middle", p, broken, b.neither, b.either)
	}
}
