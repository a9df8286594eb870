// Package gateway is the vocabulary of the program: the words in which its
// parts speak to each other. It holds types and small pure functions, imports
// the standard library only and does no I/O.
package gateway
