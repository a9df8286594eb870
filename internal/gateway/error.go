package gateway

import (
	"errors"
	"fmt"
	"time"
)

// Kind is what an error made here permits the client to do about it.
type Kind uint8

// Kinds of error. Each surface maps them once to its own form.
const (
	KindInternal         Kind = iota // a fault of ours; the client learns the request id only
	KindInvalid                      // the request makes no sense
	KindUnauthorized                 // no credential, or a wrong one
	KindForbidden                    // a credential that may not do this
	KindNotFound                     // nothing there
	KindMethod                       // the address does not know the method
	KindConflict                     // clashes with what is there
	KindTooLarge                     // over a size limit
	KindMediaType                    // a body of a type that is not understood
	KindRateLimited                  // too many requests, or every key is out of quota
	KindNoKey                        // no key can serve now
	KindProviderDisabled             // the provider is switched off
	KindUpstream                     // the upstream gave no answer
	KindUpstreamTimeout              // the upstream gave no answer in time
	KindUnavailable                  // we are not ready
)

// Error is an error made here, with a message that is safe to show.
type Error struct {
	Kind       Kind
	Message    string
	RetryAfter time.Duration // 0: not told
	Final      bool          // trying again makes no sense until somebody does something, whatever the kind
	Allow      string        // for KindMethod: the methods that are known
	Cause      error         // for the log only
}

// Error gives the message, and the cause where there is one.
func (e *Error) Error() string {
	if e.Cause != nil {
		return e.Message + ": " + e.Cause.Error()
	}
	return e.Message
}

// Unwrap gives the hidden cause.
func (e *Error) Unwrap() error { return e.Cause }

// Errorf makes an error of a kind with a message for the client.
func Errorf(k Kind, format string, args ...any) *Error {
	return &Error{Kind: k, Message: fmt.Sprintf(format, args...)}
}

// AsError finds the Error in err, or makes an internal one of it.
func AsError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{Kind: KindInternal, Message: "internal error", Cause: err}
}
