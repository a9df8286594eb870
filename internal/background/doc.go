// Package background owns the loops that run beside the requests: a Group
// starts them, notices when one fails, and at the end stops them in reverse
// order and waits for them.
package background
