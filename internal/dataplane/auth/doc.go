// Package auth is the step of the data plane that tells who asks: it finds the
// client's token in a request and the token's holder in memory, and turns away
// who has none.
package auth
