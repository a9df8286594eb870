// Package servers is for tests only: it starts real PostgreSQL, pgbouncer and
// Redis servers, throws them away at the end, and lets them fail as servers do:
// stopped, killed, frozen, back again on the same port with the same data.
//
// They listen on free ports of 127.0.0.1 and keep their files in a directory
// that is gone when the process ends, however it ends. Where the tests run as
// root, which PostgreSQL and pgbouncer refuse, the servers run as another user.
// A server that is not installed is an error that names the Debian package.
package servers
