package browser

import "testing"

// TestLoginLook looks at the login.
func TestLoginLook(t *testing.T) {
	t.Parallel()
	p := NewPage(t, Shared(t))
	p.matrix("login", "/dashboard", nil)
}
