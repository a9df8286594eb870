package sqlstore

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
)

// keyWith is a key with a state.
func keyWith(n int, user string, expires time.Time, st gateway.KeyState) gateway.Key {
	return gateway.Key{Secret: secretOf(n), Username: user, CreatedAt: noon, ExpiresAt: expires, State: st}
}

func conformExpiring(t *testing.T, open openStore) {
	s := open(Options{})
	in := func(h int) time.Time { return noon.Add(time.Duration(h) * time.Hour) }
	add(t, s, gateway.Ollama,
		keyWith(0, "a", time.Time{}, gateway.KeyState{FailedUntil: in(2)}),
		keyWith(1, "b", in(1), gateway.KeyState{FailedUntil: in(1)}),
		keyWith(2, "", noon, gateway.KeyState{Disabled: gateway.DisabledManual}),
		keyWith(3, "", noon, gateway.KeyState{}),
		keyWith(4, "c", in(1), gateway.KeyState{}),
	)
	for _, c := range []struct {
		from, until time.Time
		want        int
	}{
		{noon, in(1), 2}, {in(1), in(2), 2}, {time.Time{}, in(9), 4}, {in(1).Add(time.Microsecond), in(9), 0}, {in(2), in(1), 0}, {noon, time.Time{}, 0},
	} {
		if n, err := s.ExpiringKeys(t.Context(), gateway.Ollama, c.from, c.until); n != c.want || err != nil {
			t.Errorf("from %v until %v expire %d, %v; want %d", c.from, c.until, n, err, c.want)
		}
	}
}

// conformKeyIDs holds that filters choose what lists show.
func conformKeyIDs(t *testing.T, open openStore) {
	s := open(Options{})
	in := noon.Add(time.Hour)
	states := []gateway.KeyState{{}, {RestsUntil: in, LastError: "quota"}, {FailedUntil: in, LastError: "401 unauthorized"}, {Disabled: gateway.DisabledManual, LastError: "401"}}
	var keys []gateway.Key
	for n := range 48 {
		k := keyWith(n, fmt.Sprintf("User_%d%%", n), time.Time{}, states[n%4])
		k.Category = []string{"kimi", "Kimi", ""}[n%3]
		if n%8 == 7 {
			k.ExpiresAt = noon
		}
		keys = append(keys, k)
	}
	add(t, s, gateway.Ollama, keys...)
	for _, status := range append(gateway.KeyStatuses(), "") {
		for _, category := range []string{"", "kimi", "glm"} {
			for _, search := range []string{"", "user_1", "1%", "KIMI", keys[5].Secret.Reveal(), string(gateway.IDOfKey(keys[6].Secret)), "nobody", `\`} {
				listed, total, err := s.Keys(t.Context(), gateway.Ollama, gateway.KeyQuery{Status: status, Category: category, Search: search})
				if err != nil {
					t.Fatal(err)
				}
				want := make([]gateway.KeyID, 0, total)
				for _, k := range listed {
					want = append(want, gateway.IDOfKey(k.Secret))
				}
				got, err := s.KeyIDs(t.Context(), gateway.Ollama, gateway.KeyFilter{Status: status, Category: category, Search: search})
				if err != nil {
					t.Fatal(err)
				}
				slices.Sort(got)
				slices.Sort(want)
				if !slices.Equal(got, want) || len(got) != total {
					t.Errorf("status %q, category %q, search %q: %d chosen, %d listed, %d in total", status, category, search, len(got), len(want), total)
				}
			}
		}
	}
	for f, want := range map[gateway.KeyFilter]int{
		{Reason: "401 unauthorized"}:                                12,
		{Reason: "401"}:                                             12,
		{Reason: "4%"}:                                              0,
		{Reason: "QUOTA"}:                                           0,
		{Reason: "quota", Category: "kimi"}:                         4,
		{Reason: "quota", Status: gateway.KeyFailed}:                0,
		{Reason: "401", Status: gateway.KeyExpired}:                 6,
		{Reason: "401\x00 unauthorized", Status: gateway.KeyFailed}: 12,
	} {
		_, total, err := s.Keys(t.Context(), gateway.Ollama, gateway.KeyQuery{Status: f.Status, Category: f.Category, Reason: f.Reason, Limit: 1})
		ids, failed := s.KeyIDs(t.Context(), gateway.Ollama, f)
		if total != want || len(ids) != want || err != nil || failed != nil {
			t.Errorf("%+v: %d listed, %d chosen, %v, %v; want %d", f, total, len(ids), err, failed, want)
		}
	}
	_, err := s.KeyIDs(t.Context(), gateway.Ollama, gateway.KeyFilter{Status: "tired"})
	wantKind(t, "an unknown status", err, gateway.KindInvalid)
}

func conformCategories(t *testing.T, open openStore) {
	s := open(Options{})
	const n = idsAtOnce + 3
	keys := someKeys(0, n+1)
	keys[n].Category = "before"
	add(t, s, gateway.Ollama, keys...)
	set := map[gateway.KeyID]string{"0123456789abcdef": "kimi"}
	for i, k := range keys[:n] {
		set[gateway.IDOfKey(k.Secret)] = "kimi"
		if i >= n-2 {
			set[gateway.IDOfKey(k.Secret)] = "glm\x00"
		}
	}
	if err := s.SetCategories(t.Context(), gateway.Ollama, set); err != nil {
		t.Fatal(err)
	}
	if err := s.SetCategories(t.Context(), gateway.Ollama, nil); err != nil {
		t.Fatal(err)
	}
	for category, want := range map[string]int{"kimi": n - 2, "glm": 2, "before": 1} {
		if _, total := list(t, s, gateway.KeyQuery{Category: category, Limit: 1}); total != want {
			t.Errorf("%d keys of %s, want %d", total, category, want)
		}
	}
	if _, err := s.writer.ExecContext(t.Context(), "insert into ollama_api_keys (api_key) values ('fake-key-of-another-program')"); err != nil {
		t.Fatal(err)
	}
	counted, err := s.Categories(t.Context(), gateway.Ollama)
	if want := []gateway.CategoryCount{{Category: "", Keys: 1}, {Category: "before", Keys: 1}, {Category: "glm", Keys: 2}, {Category: "kimi", Keys: n - 2}}; err != nil || !slices.Equal(counted, want) {
		t.Errorf("counted %v, %v; want %v", counted, err, want)
	}
	if counted, err := s.Categories(t.Context(), gateway.OpenRouter); err != nil || len(counted) != 0 {
		t.Errorf("of an empty pool: %v, %v", counted, err)
	}
	err = s.SetCategories(t.Context(), "nowhere", set)
	if wantKind(t, "an unknown provider", err, gateway.KindInvalid); strings.Contains(err.Error(), "\n") {
		t.Errorf("the error has lines: %v", err)
	}
}

// conformPages holds that pages of any size, also from the far end, make up the
// list, and that every key is on one of them.
func conformPages(t *testing.T, open openStore) {
	s := open(Options{})
	in := noon.Add(time.Hour)
	states := []gateway.KeyState{{}, {RestsUntil: in}, {FailedUntil: in, ConsecutiveFailures: 2}, {Disabled: gateway.DisabledManual}, {}, {ConsecutiveFailures: 1}}
	d := gateway.Delta{Provider: gateway.Ollama}
	var keys []gateway.Key
	for n := range 31 {
		k := keyWith(n, []string{"Anna", "bert", "", "ANNA"}[n%4], []time.Time{{}, in, noon, in.Add(time.Hour)}[n%7%4], states[n%6])
		k.CreatedAt = noon.Add(time.Duration(n%3) * time.Second)
		keys = append(keys, k)
		if n%5 < 2 {
			d.Keys = append(d.Keys, gateway.KeyDelta{Key: gateway.IDOfKey(k.Secret), Counts: gateway.KeyCounts{Total: 1, LastUsed: noon.Add(time.Duration(n%8) * time.Second)}})
		}
	}
	add(t, s, gateway.Ollama, keys...)
	d.Keys = append(d.Keys, gateway.KeyDelta{Key: gateway.IDOfKey(keys[4].Secret), Counts: gateway.KeyCounts{Total: 1}}) // used, nobody knows when
	apply(t, s, d)
	for _, f := range []gateway.KeyQuery{{}, {Status: gateway.KeyActive}, {Search: "ann"}} {
		for _, by := range []string{"", "username", "created_at", "expires_at", "status", "consecutive_failures", "last_used"} {
			for _, sign := range []string{"", "-"} {
				f.Sort, f.Offset, f.Limit = sign+by, 0, 0
				if by == "" {
					f.Sort = ""
				}
				whole, total, err := s.Keys(t.Context(), gateway.Ollama, f)
				if err != nil || len(whole) != total {
					t.Fatalf("%+v: %d keys, %d in total, %v", f, len(whole), total, err)
				}
				f.Limit = 7
				for f.Offset = 0; f.Offset < total+2; f.Offset += f.Limit {
					page, n, err := s.Keys(t.Context(), gateway.Ollama, f)
					if err != nil || n != total {
						t.Fatalf("%+v: %d in total, %v", f, n, err)
					}
					want := whole[min(f.Offset, total):min(f.Offset+f.Limit, total)]
					if !slices.Equal(page, want) && len(page)+len(want) > 0 {
						t.Fatalf("%+v: the page is not that part of the list", f)
					}
				}
			}
		}
	}
	whole, _, err := s.Keys(t.Context(), gateway.Ollama, gateway.KeyQuery{Sort: "-last_used"})
	if err != nil || len(whole) != len(keys) {
		t.Fatal(len(whole), err)
	}
	seen := map[gateway.Secret]bool{}
	for _, k := range whole {
		seen[k.Secret] = true
	}
	if len(seen) != len(keys) {
		t.Errorf("%d different keys on the list, want %d", len(seen), len(keys))
	}
}
