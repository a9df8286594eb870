package sqlstore

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"net/netip"

	"ollama-api-pool/internal/gateway"
)

// limitsText is what the column limits of a client token holds, as JSON.
type limitsText struct {
	Models            []string       `json:"models,omitempty"`
	RequestsPerMinute int            `json:"requestsPerMinute,omitempty"`
	RequestsPerDay    int            `json:"requestsPerDay,omitempty"`
	TokensPerDay      int64          `json:"tokensPerDay,omitempty"`
	Concurrent        int            `json:"concurrent,omitempty"`
	Networks          []netip.Prefix `json:"networks,omitempty"`
}

// encodeLimits makes the column's value: nil where there are none.
func encodeLimits(l *gateway.Limits) any {
	if !l.Any() {
		return nil
	}
	t := limitsText(*l)
	t.Models = make([]string, len(l.Models))
	for i, pattern := range l.Models {
		t.Models[i] = clean(pattern)
	}
	return compactJSON(t)
}

// checkLimits says what makes no sense, in words for the caller.
func checkLimits(l *gateway.Limits) error {
	if min(l.RequestsPerMinute, l.RequestsPerDay, l.Concurrent) < 0 || l.TokensPerDay < 0 {
		return gateway.Errorf(gateway.KindInvalid, "a limit of a token is below 0")
	}
	for _, n := range l.Networks {
		if !n.IsValid() {
			return gateway.Errorf(gateway.KindInvalid, "a limit of a token names a network that is none")
		}
	}
	for _, pattern := range l.Models {
		if clean(pattern) == "" {
			return gateway.Errorf(gateway.KindInvalid, "a limit of a token names a model without a name")
		}
	}
	return nil
}

var errLimits = errors.New("more than one value")

// decodeLimits reads the column. A name that is not known is an error like any
// other text that cannot be read: what it limits would be unlimited.
func decodeLimits(text string) (l gateway.Limits, err error) {
	if text == "" {
		return l, nil
	}
	var t limitsText
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	d.DisallowUnknownFields()
	if err := d.Decode(&t); err != nil {
		return l, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return l, errLimits
	}
	l = gateway.Limits(t)
	if err := checkLimits(&l); err != nil {
		return gateway.Limits{}, err
	}
	return l, nil
}

// limitsFault is the error for a token whose limits cannot be read. The text is
// not repeated: nobody knows what stands there.
func (s *Store) limitsFault(p gateway.ProviderName, tok *gateway.Token, err error) error {
	var wrong *gateway.Error
	cause := "the limits that are stored with it cannot be read"
	if errors.As(err, &wrong) {
		cause = wrong.Message
	}
	return &Fault{
		Did: "read the limits of the token " + tok.ID() + " of " + string(p) + " from the store", Path: s.dialect.place(),
		Cause: cause,
		Cure:  "set the column limits of its row in the table " + tables{p}.sql("{p}client_tokens") + " to NULL and then its limits anew, or delete the token",
	}
}

// mergeLimits holds a token that has several rows to what each of them says:
// the smaller number counts, and of lists the first that there is.
func mergeLimits(a, b gateway.Limits) gateway.Limits {
	if len(a.Models) == 0 {
		a.Models = b.Models
	}
	if len(a.Networks) == 0 {
		a.Networks = b.Networks
	}
	a.RequestsPerMinute = stricter(a.RequestsPerMinute, b.RequestsPerMinute)
	a.RequestsPerDay = stricter(a.RequestsPerDay, b.RequestsPerDay)
	a.TokensPerDay = stricter(a.TokensPerDay, b.TokensPerDay)
	a.Concurrent = stricter(a.Concurrent, b.Concurrent)
	return a
}

// stricter is the smaller of two bounds, of which 0 is none.
func stricter[N int | int64](a, b N) N {
	if a == 0 || b == 0 {
		return cmp.Or(a, b)
	}
	return min(a, b)
}
