// Package limit is the step of the data plane that stands before all work: it
// turns away clients that ask too often, and notices automated ones.
package limit
