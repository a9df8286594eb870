// Package sqlstore keeps what must outlive the process: keys and their states,
// client tokens, counters. It stands behind the control plane and behind the
// data plane's writers; no request waits for it.
//
// One SQL text serves every engine; what differs stands behind the interface
// dialect, in sqlite.go, postgres*.go and rest.go. Tables have
// a prefix for each provider, written {p} in the SQL text. Times are bound as
// time.Time and read through column values of type when.
//
// A Store may be used by many goroutines, and several processes may have one
// database open: a write is one transaction that takes the write lock at its
// beginning and waits for it, a read sees one moment of the database.
package sqlstore
