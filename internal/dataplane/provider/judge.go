package provider

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"syscall"
	"time"

	"ollama-api-pool/internal/gateway"
)

// Answer is an upstream's answer as far as it is needed to judge it.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte    // the first bytes of an error's body, up to 64 KiB, perhaps cut
	Now    time.Time // when the answer came
}

// Judge says what an answer proved: the verdict of the first rule that holds.
// Bodies are needed for errors only.
func (a *Adapter) Judge(answer Answer) gateway.Verdict {
	if answer.Status >= 200 && answer.Status <= 299 {
		return gateway.Verdict{OK: true} // as the rule says, without the search
	}
	_, v := a.Explain(answer)
	return v
}

// Explain judges an answer and tells by which rule.
func (a *Adapter) Explain(answer Answer) (Rule, gateway.Verdict) {
	return a.decide(readAnswer(&answer))
}

func (a *Adapter) decide(f *facts) (Rule, gateway.Verdict) {
	for i := range a.rules {
		if r := &a.rules[i]; r.holds(f) {
			return *r, r.verdict(f)
		}
	}
	// The last row of anyRules holds always; this is for a table without it.
	return Rule{}, gateway.Verdict{Scope: gateway.ScopeUnknown, Next: gateway.NextKey, Reason: "no rule knows it"}
}

// JudgeError judges an attempt that brought no answer. timedOut means that we
// gave up waiting for the upstream; a canceled context without it means that
// the client went away.
func (a *Adapter) JudgeError(err error, timedOut bool) gateway.Verdict {
	if !timedOut && errors.Is(err, context.Canceled) {
		return gateway.Verdict{Scope: gateway.ScopeClient, Next: gateway.NextStop, Reason: "client closed"}
	}
	return gateway.Verdict{
		Scope:  gateway.ScopeProvider,
		Action: gateway.ActionStrike,
		Next:   gateway.NextAfterPause,
		Reason: connectionReason(err, timedOut),
	}
}

func connectionReason(err error, timedOut bool) string {
	var timeout interface{ Timeout() bool }
	switch {
	case timedOut, errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "no answer in time"
	case err == nil:
		return "no answer"
	case errors.Is(err, syscall.ECONNREFUSED), strings.Contains(err.Error(), "connection refused"):
		return "connection refused"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "connection broken"
	}
	return "no connection"
}
