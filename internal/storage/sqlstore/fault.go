package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"ollama-api-pool/internal/gateway"
)

// Fault is an error with the database itself, as opposed to what was asked of
// it. Its text is one line: what was tried, where, the cause and the cure.
type Fault struct {
	Did   string // what was tried, such as "open the store"
	Path  string // of the file, or what else names the database
	Cause string
	Cure  string
	Away  bool  // the database is out of reach, or gave no answer in time: the same may work later
	Err   error // what the engine or the system said, nil where we found it
}

// Error gives the whole line.
func (f *Fault) Error() string {
	line := f.Did + " " + f.Path + ": " + f.Cause + "; " + f.Cure
	if f.Err != nil {
		line += " (" + strings.Join(strings.Fields(f.Err.Error()), " ") + ")"
	}
	return line
}

// Unwrap gives what the engine or the system said.
func (f *Fault) Unwrap() error { return f.Err }

// awayRetry is when somebody who asked for a change may ask again.
const awayRetry = 5 * time.Second

// As makes a fault that will pass an error for the one who asks.
func (f *Fault) As(target any) bool {
	e, ok := target.(**gateway.Error)
	if !ok || !f.Away {
		return false
	}
	*e = &gateway.Error{
		Kind:       gateway.KindUnavailable,
		Message:    "the database is out of reach; changes are refused until it is back",
		RetryAfter: awayRetry,
		Cause:      f,
	}
	return true
}

// Unavailable reports whether an error of a Store says that its database is out
// of reach, not opened yet, or gave no answer in time: that the same may work
// later.
func Unavailable(err error) bool {
	var f *Fault
	return errors.As(err, &f) && f.Away
}

var errNotOpen = errors.New("it is not open yet")

// faultOf wraps an error with what was tried. Errors that are meant for the
// caller, and the end of its context, keep their meaning.
func faultOf(d dialect, did string, err error) error {
	if err == nil {
		return nil
	}
	var known *Fault
	var meant *gateway.Error
	if errors.As(err, &known) || errors.As(err, &meant) {
		return err
	}
	if errors.Is(err, errNotOpen) {
		return &Fault{Did: did, Path: d.place(), Cause: errNotOpen.Error(), Cure: "try again", Away: true}
	}
	cause, cure, away := d.explain(err)
	if cause == "" || errors.Is(err, context.Canceled) {
		return fmt.Errorf("%s: %w", did, err)
	}
	return &Fault{Did: did, Path: d.place(), Cause: cause, Cure: cure, Away: away, Err: err}
}
