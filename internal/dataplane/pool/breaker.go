package pool

import "time"

// What opens a provider's breaker, and how it is tried again (contract,
// section 1: five attempts within ten seconds, one probe a second).
const (
	strikesToOpen = 5
	strikeWindow  = 10 * time.Second
	probeEvery    = time.Second
)

// retryReserve bounds how many attempts may be spent on repeating requests
// that met an upstream fault. Each costs one; each answer that is no upstream
// fault gives one back. So an upstream that fails now and then is asked again
// as often as needed, and one that is down sees little more than one attempt
// for each client request, however slowly they come.
const retryReserve = 10

// breaker is a provider's gate. The pool's lock guards it.
type breaker struct {
	strikes  [strikesToOpen]int64 // when the latest upstream faults in a row came, a ring
	n        int                  // how many in a row
	open     bool
	refusal  string // open because every account was refused with this reason; "": because of upstream faults
	openedAt int64
	probeAt  int64 // open: when the next probe may go
	reserve  int
}

// strike notes an upstream fault, which may open the breaker.
func (b *breaker) strike(now int64) {
	b.strikes[b.n%strikesToOpen] = now
	b.n++
	if b.open || b.n < strikesToOpen {
		return
	}
	if first := b.strikes[b.n%strikesToOpen]; now-first <= int64(strikeWindow) {
		b.trip(now, "")
	}
}

func (b *breaker) trip(now int64, refusal string) {
	b.open, b.refusal = true, refusal
	b.openedAt, b.probeAt = now, now+int64(probeEvery)
}

// answered notes an answer that is no upstream fault.
func (b *breaker) answered() {
	b.n = 0
	b.reserve = min(b.reserve+1, retryReserve)
	b.open, b.refusal = false, ""
}

// frozen reports whether every account is refused, so that no refusal speaks
// against a key.
func (b *breaker) frozen() bool { return b.open && b.refusal != "" }

// wait is how long it takes until the next attempt may go, 0 if one may now.
func (b *breaker) wait(now int64) time.Duration {
	if !b.open {
		return 0
	}
	return max(0, time.Duration(b.probeAt-now))
}

// sent notes that an attempt goes: while the breaker is open it is the probe.
func (b *breaker) sent(now int64) { b.probeAt = now + int64(probeEvery) }

// spendRetry takes one repetition from the reserve.
func (b *breaker) spendRetry() bool {
	if b.open || b.reserve == 0 {
		return false
	}
	b.reserve--
	return true
}
