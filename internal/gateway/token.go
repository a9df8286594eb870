package gateway

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"time"
)

// Token is a credential issued to a client. The credential itself is shown
// once, when it is made; only its hash is kept.
type Token struct {
	Hash         string // "sha256:" and 64 hex digits
	Preview      string // for lists: enough to recognise it
	Name         string
	Providers    []ProviderName // what it is valid for
	CreatedAt    time.Time
	ExpiresAt    time.Time // zero: never
	RequestCount int64
	LastUsed     time.Time
	Limits       Limits
	Plain        Secret // set only for a row that still holds the token itself; to be replaced by its hash
}

const (
	tokenPrefix   = "sk-"
	tokenRandom   = 48
	tokenAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	hashPrefix    = "sha256:"
)

// NewTokenSecret makes a client token from the system's cryptographic source:
// sk- and 48 characters of [A-Za-z0-9], some 285 bits.
func NewTokenSecret() Secret {
	b := make([]byte, 0, len(tokenPrefix)+tokenRandom)
	b = append(b, tokenPrefix...)
	var buf [64]byte
	for len(b) < cap(b) {
		_, _ = rand.Read(buf[:]) // never fails since Go 1.24
		for _, c := range buf {
			// 248 is the largest multiple of 62 in a byte: no character is likelier.
			if c < 248 && len(b) < cap(b) {
				b = append(b, tokenAlphabet[c%62])
			}
		}
	}
	return Secret(b)
}

// HashToken returns the form in which a token is stored.
func HashToken(s Secret) string {
	sum := sha256.Sum256([]byte(s))
	return hashPrefix + hex.EncodeToString(sum[:])
}

// IsTokenHash tells a stored hash from a token stored as it is.
func IsTokenHash(s string) bool {
	return len(s) == len(hashPrefix)+2*sha256.Size && strings.HasPrefix(s, hashPrefix)
}

// PreviewToken shows a token's first six and last four characters.
func PreviewToken(s Secret) string { return MaskKey(s) }

// ID is the stable public name of a token: 16 hex digits of its hash.
func (t *Token) ID() string {
	if !IsTokenHash(t.Hash) {
		return ""
	}
	return t.Hash[len(hashPrefix) : len(hashPrefix)+16]
}

// ValidFor reports whether the token may use a provider.
func (t *Token) ValidFor(p ProviderName) bool {
	for _, q := range t.Providers {
		if p == q {
			return true
		}
	}
	return false
}

// TokenChange is what is to become of a token; nil leaves a thing as it is.
type TokenChange struct {
	Name      *string
	Providers []ProviderName
	ExpiresAt *time.Time // the zero time: never
	Limits    *Limits
}
