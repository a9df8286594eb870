// Package limit is the step of the data plane that stands before all work: it
// turns away clients and tokens that ask too often or from the wrong place, and
// notices automated agents.
package limit
