package gateway

import (
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"strings"
	"time"
)

// Secret is a credential. However it is printed, logged or encoded it shows
// as ***; only Reveal gives it away.
type Secret string

const redacted = "***"

// String hides the secret.
func (Secret) String() string { return redacted }

// GoString hides the secret from %#v.
func (Secret) GoString() string { return redacted }

// MarshalText hides the secret from encoders.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// LogValue hides the secret from slog.
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// Reveal returns the secret itself.
func (s Secret) Reveal() string { return string(s) }

// KeyID is the stable public name of a key: the first 16 hex digits of the
// SHA-256 of its secret.
type KeyID string

// KeyIDLen is the length of a KeyID.
const KeyIDLen = 16

// IDOfKey computes a key's public name.
func IDOfKey(secret Secret) KeyID {
	sum := sha256.Sum256([]byte(secret))
	return KeyID(hex.EncodeToString(sum[:KeyIDLen/2]))
}

// MaskKey shows as much of a key as an operator needs to recognise it: the
// first six and last four characters, of a key under 16 only the first two.
func MaskKey(secret Secret) string {
	s := string(secret)
	if len(s) < 16 {
		return s[:min(2, len(s))] + "…"
	}
	return s[:6] + "…" + s[len(s)-4:]
}

// KeyStatus says whether a key serves, and if not, why.
type KeyStatus string

// What a key can be. Of several that apply, the later in this list wins.
const (
	KeyActive   KeyStatus = "active"
	KeyResting  KeyStatus = "resting"  // its account is out of quota until a time
	KeyFailed   KeyStatus = "failed"   // refused by the upstream; tried again after a while
	KeyDisabled KeyStatus = "disabled" // taken out, by failures in a row or by hand
	KeyExpired  KeyStatus = "expired"  // its time to live is over
)

// KeyStatuses lists every status.
func KeyStatuses() []KeyStatus {
	return []KeyStatus{KeyActive, KeyResting, KeyFailed, KeyDisabled, KeyExpired}
}

// DisabledReason says who disabled a key.
type DisabledReason string

// Why a key is disabled.
const (
	NotDisabled    DisabledReason = ""
	DisabledAuto   DisabledReason = "auto"   // too many failures in a row
	DisabledManual DisabledReason = "manual" // by the operator
)

// Key is an upstream credential in the pool, as it is stored.
type Key struct {
	Secret    Secret
	Username  string // the account it belongs to, see AccountOf
	Category  string // model family, "" while unknown
	CreatedAt time.Time
	ExpiresAt time.Time // zero: never
	State     KeyState
	Version   int64 // of the state, as it is stored
	Counts    KeyCounts
}

// KeyState is what has been learnt about a key and decides whether it serves.
// Zero times mean that the mark is not set, except DisabledUntil, which with a
// DisabledReason means "until enabled".
type KeyState struct {
	FailedUntil         time.Time
	DisabledUntil       time.Time
	RestsUntil          time.Time
	Disabled            DisabledReason
	ConsecutiveFailures int
	RestStep            int    // rests of unknown length in a row, each twice the one before
	LastError           string // why the key is out, or what its last failure was; never a secret
}

// StatusAt derives the status of a key with this state at a time.
func (s *KeyState) StatusAt(now, expiresAt time.Time) KeyStatus {
	switch {
	case !expiresAt.IsZero() && !now.Before(expiresAt):
		return KeyExpired
	case s.Disabled != NotDisabled && (s.DisabledUntil.IsZero() || now.Before(s.DisabledUntil)):
		return KeyDisabled
	case now.Before(s.FailedUntil):
		return KeyFailed
	case now.Before(s.RestsUntil):
		return KeyResting
	}
	return KeyActive
}

// KeyCounts counts a key's attempts. An attempt that the client broke off is
// in Total only.
type KeyCounts struct {
	Total, Success, Failure            int64
	LastUsed, LastSuccess, LastFailure time.Time
}

// AccountOf returns the account that a user name stands for, or "" for names
// that stand for none ("", "N/A").
func AccountOf(username string) string {
	u := strings.ToLower(strings.TrimSpace(username))
	if u == "n/a" {
		return ""
	}
	return u
}

// What a key may look like: printable ASCII without blanks.
const (
	MinKeyLen = 8
	MaxKeyLen = 512
)

// CheckKey says what is wrong with a key's form, in words that do not repeat
// it; "" means nothing is.
func CheckKey(s string) string {
	switch {
	case s == "":
		return "no key"
	case len(s) < MinKeyLen:
		return "key is shorter than 8 characters"
	case len(s) > MaxKeyLen:
		return "key is longer than 512 characters"
	}
	for i := range len(s) {
		if s[i] == ' ' || s[i] == '\t' {
			return "key has a blank inside"
		}
		if s[i] < ' ' || s[i] > '~' {
			return "key has a character that is not printable ASCII"
		}
	}
	return ""
}

// Refusal is a model that a key may not use (its plan lacks it) for a while.
type Refusal struct {
	Key   KeyID
	Model string
	Until time.Time
	// Version of the key's state as its writer knew it: what an operator has
	// done since then speaks louder.
	Version int64
}

// KeyQuery asks for a page of keys.
type KeyQuery struct {
	Status   KeyStatus // "": all
	Category string    // "": all
	Search   string    // part of the user name, the whole key, its id, or the category; "": all
	Reason   string    // the whole LastError; "": all
	// Sort is username, created_at, expires_at, status, consecutive_failures or
	// last_used, with "-" in front for descending; "": created_at.
	Sort   string
	Offset int
	Limit  int // 0: all
}

// KeyFilter chooses keys by what they are instead of naming them, like the
// fields of the same names in KeyQuery.
type KeyFilter struct {
	Status   KeyStatus
	Category string
	Search   string
	Reason   string
}

// CategoryCount is how many keys are of a category.
type CategoryCount struct {
	Category string // "": not known
	Keys     int
}

// RestGroup is how many keys return from resting at about the same time for
// the same reason.
type RestGroup struct {
	Until    time.Time // when the last of them returns
	Reason   string
	Keys     int
	Accounts int // how many they belong to; 0: not known, or none
}

// OutGroup is how many keys are out for the same reason, other than resting.
type OutGroup struct {
	Status   KeyStatus // failed, disabled or expired
	Disabled DisabledReason
	Reason   string
	Keys     int
	Accounts int       // how many user names they belong to
	Since    time.Time // when the earliest of the refusals was by which they are out; zero: not known
	Returns  time.Time // when the first of them returns by itself; zero: none does
}

// CheckResult is what checking one key upstream showed.
type CheckResult struct {
	Key      KeyID
	Outcome  CheckOutcome
	Status   int    // the upstream's, 0 if none came
	Reason   string // why it is not valid, in words; never a secret
	Model    string // the first model of the list that the upstream gave this key, "" if it gave none
	Category string // the family of that model
	Latency  time.Duration
	At       time.Time
}

// CheckOutcome says whether a key is good.
type CheckOutcome uint8

// Outcomes of a check.
const (
	CheckInconclusive CheckOutcome = iota // the upstream did not say; the key stays as it is
	CheckValid
	CheckRefused
)

var checkNames = [...]string{"inconclusive", "valid", "refused"}

// String names the outcome as logs and answers do.
func (o CheckOutcome) String() string { return checkNames[o] }
