// Package testkit is for tests only: a fake upstream that speaks over real
// sockets and fails in scripted ways, a client that shows how an answer ended,
// a buffer for logs and a check for leaked secrets.
//
// Nothing here sleeps to make a test pass: a Gate that the test opens decides
// when an answer goes on, and the Await functions return at the moment when
// what they wait for has happened.
package testkit
