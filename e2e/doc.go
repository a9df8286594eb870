// Package e2e looks at the built program from outside: it starts it as a
// process on a port of its own, talks to it with the clients that people use,
// and kills it. It is a module of its own so that those clients stay out of
// the product's dependencies.
package e2e
