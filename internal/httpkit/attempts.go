package httpkit

import (
	"net/http"
	"strconv"
)

const attemptsHeader = "X-Pool-Attempts"

// attemptCounts are the values of X-Pool-Attempts that occur, shared by all
// answers. Their capacity is their length, so that appending to one copies it.
var attemptCounts = func() (values [17][]string) {
	for n := range values {
		values[n] = []string{strconv.Itoa(n)}
	}
	return values
}()

// SetAttempts tells the client how many attempts upstream its request took, in
// X-Pool-Attempts. An answer that has the header gets the final number from
// WriteDataError, too.
func SetAttempts(h http.Header, n int) {
	if n < len(attemptCounts) {
		h[attemptsHeader] = attemptCounts[n]
		return
	}
	h[attemptsHeader] = []string{strconv.Itoa(n)}
}
