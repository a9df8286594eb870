// Package postgrest is a driver for database/sql that reaches PostgreSQL by way
// of PostgREST, which Supabase puts in front of every database, for hosts that
// allow no TCP to the database itself. The store stands on it as it stands on
// the driver for PostgreSQL.
//
// A call is POST …/rpc/ollama_api_pool_sql, or …_read for what only reads: two
// functions that an operator makes once (see function.sql, and Functions), which
// run a list of statements in the one transaction that PostgREST opens for a
// call (https://docs.postgrest.org/en/stable/references/transactions.html).
//
// A call keeps nothing for the next one, so a transaction of several calls is
// carried out by replay. Statements are remembered. Where the rows of a query
// are needed, everything up to it runs in one call that undoes it; the commit is
// one call that runs everything again, compares each result that was given out
// with what it is now, and keeps what it did only if all are the same. If not,
// the transaction has failed to serialize (40001) and is to be run again from
// its beginning. How many rows a statement changed is guessed: as in the attempt
// before, else 1. A wrong guess comes to light at the commit, at the next query
// or at the end of the transaction, and costs as much as asking would have.
//
// A transaction that only reads sees, like any other, one moment of the
// database: when something was committed since its first query, the next query
// looks whether the earlier ones still give the same, and fails to serialize
// where they do not.
package postgrest
