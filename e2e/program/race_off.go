//go:build !race

package program

// Race says whether the race detector is in the tests, and therefore in the
// program that they build.
const Race = false
