package sqlstore

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"ollama-api-pool/internal/gateway"
)

// sealedPrefix begins a sealed key; base64 of the nonce and the ciphertext follows.
const sealedPrefix = "enc:v1:"

// masterLen is the length of an ENCRYPTION_KEY in bytes.
const masterLen = 32

// seal encrypts upstream keys with AES-256-GCM. The nonce is derived from the
// plain text with a secret of its own, so that one key always has one stored
// form: the primary key stays unique and can be looked up, and a nonce is never
// used for two plain texts. It is immutable. A nil seal leaves keys plain.
type seal struct {
	aead     cipher.AEAD
	nonceKey []byte
	mark     string // kept in the store to tell whether a key fits; tells nothing about it
}

// newSeal derives what is needed from an ENCRYPTION_KEY; no key gives a nil seal.
func newSeal(master []byte) (*seal, error) {
	if len(master) == 0 {
		return nil, nil
	}
	if len(master) != masterLen {
		return nil, gateway.Errorf(gateway.KindInvalid, "ENCRYPTION_KEY has %d bytes: it must have %d", len(master), masterLen)
	}
	derived := map[string][]byte{"encrypt": nil, "nonce": nil, "mark": nil}
	for purpose := range derived {
		sub, err := hkdf.Key(sha256.New, master, nil, "ollama-api-pool upstream keys v1: "+purpose, masterLen)
		if err != nil {
			return nil, fmt.Errorf("derive a subkey: %w", err)
		}
		derived[purpose] = sub
	}
	block, err := aes.NewCipher(derived["encrypt"])
	if err != nil {
		return nil, fmt.Errorf("set up AES: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("set up AES-GCM: %w", err)
	}
	return &seal{aead: aead, nonceKey: derived["nonce"], mark: "v1:" + hex.EncodeToString(derived["mark"])}, nil
}

// markOf is what the store must have kept for the seal to fit; "" is a plain store.
func (s *seal) markOf() string {
	if s == nil {
		return ""
	}
	return s.mark
}

// stored gives the form in which a key is stored. The provider is bound to it:
// a row moved to another provider's table does not open.
func (s *seal) stored(p gateway.ProviderName, key gateway.Secret) string {
	if s == nil {
		return key.Reveal()
	}
	mac := hmac.New(sha256.New, s.nonceKey)
	mac.Write([]byte(p))
	mac.Write([]byte{0})
	mac.Write([]byte(key))
	size := s.aead.NonceSize()
	box := make([]byte, size, size+len(key)+s.aead.Overhead())
	copy(box, mac.Sum(nil))
	box = s.aead.Seal(box, box[:size], []byte(key), []byte(p))
	return sealedPrefix + base64.RawStdEncoding.EncodeToString(box)
}

var errSealBroken = errors.New("it cannot be decrypted")

// plain gives a key back from its stored form. A row that another program has
// inserted into an encrypted store is plain until it is taken in.
func (s *seal) plain(p gateway.ProviderName, stored string) (gateway.Secret, error) {
	if s == nil {
		return gateway.Secret(stored), nil
	}
	text, sealed := strings.CutPrefix(stored, sealedPrefix)
	if !sealed {
		return gateway.Secret(stored), nil
	}
	box, err := base64.RawStdEncoding.DecodeString(text)
	// Base64 has several forms of one value; ours has one, as the primary key must.
	if err != nil || len(box) < s.aead.NonceSize() || base64.RawStdEncoding.EncodeToString(box) != text {
		return "", errSealBroken
	}
	key, err := s.aead.Open(nil, box[:s.aead.NonceSize()], box[s.aead.NonceSize():], []byte(p))
	if err != nil {
		return "", errSealBroken
	}
	return gateway.Secret(key), nil
}
