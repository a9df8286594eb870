package testkit

import (
	"bytes"
	"net/url"
	"strings"
	"sync"
	"testing"
)

// SafeBuffer collects what several goroutines write, such as a log. All its
// methods may be called concurrently. The zero value is empty.
type SafeBuffer struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

// Write implements io.Writer; it never fails.
func (b *SafeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

// String returns all that was written since the last Reset.
func (b *SafeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// Reset empties the buffer.
func (b *SafeBuffer) Reset() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.buf.Reset()
}

// MustNotContain fails the test for every secret that stands in the text, as it
// is or escaped as in a URL. It does not print what it found.
func MustNotContain[T ~string | ~[]byte](tb testing.TB, haystack T, secrets ...string) {
	tb.Helper()
	text := string(haystack)
	for i, secret := range secrets {
		if secret == "" {
			tb.Fatalf("testkit: secret %d is empty", i)
		}
		for _, form := range []string{secret, url.QueryEscape(secret), url.PathEscape(secret)} {
			if at := strings.Index(text, form); at >= 0 {
				tb.Errorf("secret %d (of %d characters) stands in the text at byte %d of %d", i, len(secret), at, len(text))
				break
			}
		}
	}
}
