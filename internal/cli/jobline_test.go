package cli

import "testing"

// What waits says so where it is watched.
func TestProgressLines(t *testing.T) {
	why := "the upstream gives no\nusable answer"
	j := job{Done: 5, Total: 10, Counts: map[string]int{"healthy": 5}}
	wantText(t, "a job", j.line(), "[##########..........] 5 of 10: 5 healthy")
	j.Waiting = &why
	wantText(t, "a job that waits", j.line(), "[##########..........] 5 of 10: 5 healthy; waiting: the upstream gives no usable answer")
	s := step{Done: 5, Total: 10, Healthy: 4, Unhealthy: 1}
	wantText(t, "a step", s.line(), "[##########..........] 5 of 10 keys: 4 good, 1 refused, 0 unclear")
	s.Waiting = why
	wantText(t, "a step that waits", s.line(), "[##########..........] 5 of 10 keys: 4 good, 1 refused, 0 unclear; waiting: the upstream gives no usable answer")
}
