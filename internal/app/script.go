package app

import "ollama-api-pool/internal/storage/sqlstore"

// Script is the SQL with which an operator makes the tables of a PostgreSQL
// database, or brings them up to date, by hand; for PostgREST with the functions
// and the rights that are needed there. It connects to nothing.
func Script(forREST bool) (string, error) { return sqlstore.Script(forREST) }
