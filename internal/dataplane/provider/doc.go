// Package provider is the step of the data plane that knows what differs
// between Ollama Cloud and OpenRouter: base addresses, headers, and what an
// answer proves about the key, the account, the model or the service.
//
// Judging is data. Each provider has an ordered table of rules, its own first
// (rules_ollama.go, rules_openrouter.go) and then those that hold for any
// upstream (rules_any.go). The first rule whose conditions all hold decides.
// Every fact about an upstream is a row with its reason and, where there is
// one, the public page it was read on; a test hits every row.
//
// The package is pure: no I/O, no clock, no state. Everything in it may be
// called concurrently.
package provider
