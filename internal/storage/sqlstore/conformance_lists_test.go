package sqlstore

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
)

func conformStatus(t *testing.T, open openStore) {
	s := open(Options{})
	marks := []time.Time{{}, noon, noon.Add(time.Microsecond)}
	var keys []gateway.Key
	want := map[gateway.KeyStatus][]string{}
	for _, expires := range marks {
		for _, disabled := range marks {
			for _, failed := range marks {
				for _, rests := range marks {
					for _, reason := range []gateway.DisabledReason{gateway.NotDisabled, gateway.DisabledAuto, gateway.DisabledManual} {
						k := gateway.Key{
							Secret: secretOf(len(keys)), Username: fmt.Sprintf("%04d", len(keys)), CreatedAt: noon, ExpiresAt: expires,
							State: gateway.KeyState{FailedUntil: failed, DisabledUntil: disabled, RestsUntil: rests, Disabled: reason},
						}
						status := k.State.StatusAt(noon, expires)
						want[status] = append(want[status], k.Username)
						keys = append(keys, k)
					}
				}
			}
		}
	}
	bare := make([]gateway.Key, len(keys))
	var changes []gateway.StateChange
	for i, k := range keys {
		bare[i] = k
		bare[i].State = gateway.KeyState{}
		changes = append(changes, gateway.StateChange{Key: gateway.IDOfKey(k.Secret), State: k.State})
	}
	check := func(how string, s *Store) {
		counts, err := s.CountKeys(t.Context(), gateway.Ollama)
		if err != nil {
			t.Fatal(err)
		}
		for _, status := range gateway.KeyStatuses() {
			names, total := list(t, s, gateway.KeyQuery{Status: status, Sort: "username"})
			if !slices.Equal(names, want[status]) || total != len(names) || counts[status] != len(names) {
				t.Errorf("%s, %s: %d listed, %d in total, %d counted, want %d", how, status, len(names), total, counts[status], len(want[status]))
			}
			var column int
			row := s.reader.QueryRowContext(t.Context(), "select count(*) from ollama_api_keys where status = ?", string(status))
			if err := row.Scan(&column); err != nil || column != len(names) {
				t.Errorf("%s, %s: the column says so of %d keys, %v", how, status, column, err)
			}
		}
	}
	add(t, s, gateway.Ollama, keys...)
	check("added", s)
	var ids []gateway.KeyID
	for _, c := range changes {
		ids = append(ids, c.Key)
	}
	if _, err := s.DeleteKeys(t.Context(), gateway.Ollama, ids); err != nil {
		t.Fatal(err)
	}
	add(t, s, gateway.Ollama, bare...)
	apply(t, s, gateway.Delta{Provider: gateway.Ollama, States: changes})
	check("changed", s)
	_, _, err := s.Keys(t.Context(), gateway.Ollama, gateway.KeyQuery{Status: "tired"})
	wantKind(t, "an unknown status", err, gateway.KindInvalid)
}

func conformSearch(t *testing.T, open openStore) {
	s := open(Options{})
	add(t, s, gateway.Ollama,
		gateway.Key{Secret: "fake-KEY-one-aaaa", Username: "Anna_Blume@example.com", Category: "kimi"},
		gateway.Key{Secret: "fake-KEY-two-bbbb", Username: "ÖZLEM 100%", Category: "gpt-oss"},
		gateway.Key{Secret: "fake-KEY-six-cccc", Username: `back\slash'quote`, Category: "Kimi"},
		gateway.Key{Secret: "fake-KEY-ten-dddd"},
	)
	const anna, ozlem, slash, none = "Anna_Blume@example.com", "ÖZLEM 100%", `back\slash'quote`, ""
	for search, want := range map[string][]string{
		"anna": {anna}, "BLUME@": {anna}, "_": {anna}, "%": {ozlem}, "0%": {ozlem}, "özlem": {ozlem},
		`\`: {slash}, `'`: {slash}, `k\S`: {slash}, "kimi": {anna, slash}, "kim": nil, "a_b": {anna}, "e": {anna, slash, ozlem},
		"fake-KEY-two-bbbb": {ozlem}, "fake-KEY-two": nil, "fake-KEY-ten-dddd": {none},
		string(gateway.IDOfKey("fake-KEY-six-cccc")):                  {slash},
		strings.ToUpper(string(gateway.IDOfKey("fake-KEY-six-cccc"))): {slash},
		string(gateway.IDOfKey("fake-KEY-six-cccc"))[:8]:              nil,
		"nobody": nil, "enc:v1:": nil,
	} {
		got, total := list(t, s, gateway.KeyQuery{Search: search})
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) || total != len(want) {
			t.Errorf("search %q: got %q (%d in total), want %q", search, got, total, want)
		}
	}
	if !s.Encrypted() {
		if got, _ := list(t, s, gateway.KeyQuery{Search: "FAKE-key-TWO-bbbb"}); !slices.Equal(got, []string{ozlem}) {
			t.Errorf("search for a whole key in other letters' case: got %q", got)
		}
	}
	for q, want := range map[gateway.KeyQuery]int{
		{Category: "kimi"}: 1, {Category: "kim"}: 0, {Category: "kimi", Search: "anna"}: 1,
		{Category: "gpt-oss", Search: "anna"}: 0, {Category: "gpt-oss", Status: gateway.KeyActive}: 1, {Category: "gpt-oss", Status: gateway.KeyFailed}: 0,
	} {
		if _, total := list(t, s, q); total != want {
			t.Errorf("%+v: %d keys, want %d", q, total, want)
		}
	}
}

func conformSort(t *testing.T, open openStore) {
	s := open(Options{})
	hours := func(n int) time.Time { return noon.Add(time.Duration(n) * time.Hour) }
	add(t, s, gateway.Ollama,
		gateway.Key{Secret: secretOf(1), Username: "Cato", CreatedAt: hours(-1), ExpiresAt: hours(3), State: gateway.KeyState{ConsecutiveFailures: 2}},
		gateway.Key{Secret: secretOf(2), Username: "bert", CreatedAt: hours(-4), State: gateway.KeyState{RestsUntil: hours(1)}},
		gateway.Key{Secret: secretOf(3), Username: "Anna", CreatedAt: hours(-3), ExpiresAt: hours(-1), State: gateway.KeyState{ConsecutiveFailures: 1}},
		gateway.Key{Secret: secretOf(4), Username: "dora", CreatedAt: hours(-2), ExpiresAt: hours(2).Add(time.Millisecond), State: gateway.KeyState{Disabled: gateway.DisabledManual}},
		gateway.Key{Secret: secretOf(5), CreatedAt: hours(-2).Add(time.Millisecond), ExpiresAt: hours(2)},
	)
	apply(t, s, gateway.Delta{Provider: gateway.Ollama, Keys: []gateway.KeyDelta{
		{Key: gateway.IDOfKey(secretOf(2)), Counts: gateway.KeyCounts{Total: 1, LastUsed: hours(-1)}},
		{Key: gateway.IDOfKey(secretOf(3)), Counts: gateway.KeyCounts{Total: 1, LastUsed: hours(-1).Add(time.Microsecond)}},
	}})
	for by, want := range map[string]string{
		"": "bert Anna dora  Cato", "created_at": "bert Anna dora  Cato", "-created_at": "Cato  dora Anna bert",
		"username": "Anna bert Cato dora ", "-username": "dora Cato bert Anna ",
		"expires_at": "Anna  dora Cato bert", "-expires_at": "Cato dora  Anna bert",
	} {
		got, _ := list(t, s, gateway.KeyQuery{Sort: by})
		if joined := strings.Join(got, " "); joined != want {
			t.Errorf("sort %q: got %q, want %q", by, joined, want)
		}
	}
	for by, want := range map[string][]string{ // what is equal comes in an order of its own
		"consecutive_failures": {"Anna", "Cato"}, "-consecutive_failures": {"Cato", "Anna"},
		"last_used": {"bert", "Anna"}, "-last_used": {"Anna", "bert"},
		"status": {"dora", "Anna", "bert"}, "-status": {"bert", "Anna", "dora"},
	} {
		got, _ := list(t, s, gateway.KeyQuery{Sort: by})
		got = slices.DeleteFunc(got, func(name string) bool { return !slices.Contains(want, name) })
		wantEqual(t, "sort "+by, got, want)
		var paged []string
		for offset := range 6 {
			page, total := list(t, s, gateway.KeyQuery{Sort: by, Offset: offset, Limit: 1})
			if total != 5 {
				t.Errorf("sort %q, page %d: %d in total, want 5", by, offset, total)
			}
			paged = append(paged, page...)
		}
		whole, _ := list(t, s, gateway.KeyQuery{Sort: by})
		wantEqual(t, "pages by "+by, paged, whole)
	}
	for _, by := range []string{"-", "api_key", "username desc", "username; drop table x", "--username", "USERNAME"} {
		_, _, err := s.Keys(t.Context(), gateway.Ollama, gateway.KeyQuery{Sort: by})
		wantKind(t, "sort "+by, err, gateway.KindInvalid)
	}
}

func conformHostile(t *testing.T, open openStore) {
	s := open(Options{})
	for i, text := range []string{
		`'; drop table ollama_api_keys; --`, `" or 1=1 --`, `{p}keys`, `?`, `$1`, `:name @x`, "a\nb", "percent % under _ back \\",
		strings.Repeat("long ", 2000), "\xff\xfe not UTF-8", "nul\x00inside",
	} {
		clean := strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "")
		k := gateway.Key{Secret: secretOf(i), Username: text, Category: text, State: gateway.KeyState{LastError: text}}
		add(t, s, gateway.Ollama, k)
		if got, _ := list(t, s, gateway.KeyQuery{Search: text, Category: text}); !slices.Equal(got, []string{clean}) {
			t.Errorf("%.40q: found %.40q", text, got)
		}
		id := gateway.IDOfKey(k.Secret)
		token := gateway.Secret("fake-" + text)
		err := s.AddToken(t.Context(), gateway.Token{Hash: gateway.HashToken(token), Name: text, Providers: gateway.Providers()})
		if err != nil {
			t.Errorf("%.40q: %v", text, err)
		}
		apply(t, s, gateway.Delta{
			Provider: gateway.Ollama,
			Models:   []gateway.ModelDelta{{Model: text, Hour: noon, LastUsed: noon, Counts: gateway.Counts{Requests: 1}}},
			Refusals: []gateway.Refusal{{Key: id, Model: text, Until: noon.Add(time.Hour)}},
		})
		if deleted, err := s.DeleteKeys(t.Context(), gateway.Ollama, []gateway.KeyID{gateway.KeyID(text), id}); err != nil || len(deleted) != 1 {
			t.Errorf("%.40q: deleted %v, %v", text, deleted, err)
		}
		if gone, err := s.DeleteToken(t.Context(), text); gone || err != nil {
			t.Errorf("%.40q: a token was deleted by a hostile hash: %v, %v", text, gone, err)
		}
		totals, err := s.ModelTotals(t.Context(), gateway.Ollama)
		if err != nil || !slices.ContainsFunc(totals, func(m ModelTotal) bool { return m.Model == clean && m.Counts.Requests == 1 }) {
			t.Errorf("%.40q: not among the models: %v", text, err)
		}
	}
}
