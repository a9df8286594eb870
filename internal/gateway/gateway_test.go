package gateway

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
)

func TestSecretsAreNotShown(t *testing.T) {
	const secret = "fake-secret-0123456789"
	k := Key{Secret: secret, Username: "alice@example.com"}
	tok := Token{Name: "app", Plain: secret}
	x := Exchange{PathToken: secret}
	var out strings.Builder
	for _, log := range []*slog.Logger{slog.New(slog.NewTextHandler(&out, nil)), slog.New(slog.NewJSONHandler(&out, nil))} {
		log.Info("all", slog.Any("secret", Secret(secret)), slog.Any("key", k), slog.Any("token", &tok), slog.Any("exchange", &x))
	}
	for _, v := range []any{Secret(secret), k, &k, tok, &tok, x, &x, []Secret{secret}, map[string]Secret{"a": secret}} {
		for _, form := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
			_, _ = fmt.Fprintf(&out, form+"\n", v)
		}
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(text)
	}
	if strings.Contains(out.String(), secret) || strings.Contains(out.String(), fmt.Sprintf("%x", secret)) {
		t.Errorf("a secret is shown: %s", out.String())
	}
	if Secret(secret).Reveal() != secret {
		t.Error("a secret does not reveal itself")
	}
}

func TestMasks(t *testing.T) {
	for key, want := range map[Secret]string{
		"":                  "…",
		"a":                 "a…",
		"fake-key-123456":   "fa…",
		"fake-key-1234567":  "fake-k…4567",
		"sk-fakefakefake01": "sk-fak…ke01",
	} {
		if got := MaskKey(key); got != want {
			t.Errorf("MaskKey(%q) = %q, want %q", string(key), got, want)
		}
	}
}

func TestTokens(t *testing.T) {
	seen := map[Secret]bool{}
	used := map[rune]bool{}
	for range 200 {
		s := NewTokenSecret()
		random, ok := strings.CutPrefix(s.Reveal(), tokenPrefix)
		if !ok || len(random) != tokenRandom || strings.Trim(random, tokenAlphabet) != "" || seen[s] {
			t.Fatalf("token %q", s.Reveal())
		}
		seen[s] = true
		for _, c := range random {
			used[c] = true
		}
		tok := Token{Hash: HashToken(s)}
		if !IsTokenHash(tok.Hash) || len(tok.ID()) != KeyIDLen || !strings.Contains(tok.Hash, tok.ID()) {
			t.Fatalf("hash %q, id %q", tok.Hash, tok.ID())
		}
	}
	if len(used) != len(tokenAlphabet) { // 9,600 draws miss one of 62 once in 10^66
		t.Errorf("%d characters occur, want %d", len(used), len(tokenAlphabet))
	}
	if id := (&Token{Hash: "sk-plain"}).ID(); id != "" {
		t.Errorf("a token without a hash has the id %q", id)
	}
}

func TestStatusAt(t *testing.T) {
	now := time.Date(2030, time.June, 1, 12, 0, 0, 0, time.UTC)
	before, after := now.Add(-time.Second), now.Add(time.Second)
	for _, tt := range []struct {
		state   KeyState
		expires time.Time
		want    KeyStatus
	}{
		{KeyState{}, time.Time{}, KeyActive},
		{KeyState{RestsUntil: now, FailedUntil: before, DisabledUntil: after}, after, KeyActive},
		{KeyState{RestsUntil: after}, time.Time{}, KeyResting},
		{KeyState{RestsUntil: after, FailedUntil: after}, time.Time{}, KeyFailed},
		{KeyState{FailedUntil: after, Disabled: DisabledManual}, time.Time{}, KeyDisabled},
		{KeyState{FailedUntil: after, Disabled: DisabledAuto, DisabledUntil: now}, time.Time{}, KeyFailed},
		{KeyState{Disabled: DisabledManual}, now, KeyExpired},
	} {
		if got := tt.state.StatusAt(now, tt.expires); got != tt.want {
			t.Errorf("%+v, expires %v: %s, want %s", tt.state, tt.expires, got, tt.want)
		}
	}
}

func TestAsError(t *testing.T) {
	cause := errors.New("cause")
	ours := &Error{Kind: KindNoKey, Message: "none", Cause: cause}
	if got := AsError(fmt.Errorf("try: %w", ours)); got != ours || !errors.Is(got, cause) || got.Error() != "none: cause" {
		t.Errorf("ours comes back as %v", got)
	}
	if got := AsError(cause); got.Kind != KindInternal || strings.Contains(got.Message, "cause") || !errors.Is(got, cause) {
		t.Errorf("another's comes back as %v", got)
	}
}

func TestOutcome(t *testing.T) {
	for _, tt := range []struct {
		r                Record
		success, failure bool
	}{
		{Record{Status: 200}, true, false},
		{Record{Status: 200, End: EndCut}, false, true},
		{Record{Status: 200, End: EndClientClosed}, false, false},
		{Record{Status: 404}, false, true},
		{Record{}, false, true},
	} {
		if success, failure := tt.r.Outcome(); success != tt.success || failure != tt.failure {
			t.Errorf("status %d, %s: %v, %v", tt.r.Status, tt.r.End, success, failure)
		}
	}
}

func FuzzClip(f *testing.F) {
	for _, s := range []string{"", "short", "überlang", "日本語", "\xff\x80\x80", "\x80\x80"} {
		f.Add(s, 4)
	}
	f.Fuzz(func(t *testing.T, s string, n int) {
		n = max(0, min(n, 100))
		got := Clip(s, n)
		if len(s) <= n && got != s {
			t.Errorf("Clip(%q, %d) = %q", s, n, got)
		}
		if begin, cut := strings.CutSuffix(got, "…"); len(s) > n && (!cut || len(begin) > n || !strings.HasPrefix(s, begin)) {
			t.Errorf("Clip(%q, %d) = %q", s, n, got)
		}
	})
}
