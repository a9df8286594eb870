// Package httpkit is the step between net/http and the program's own handlers:
// handlers that return errors and the chain around them, the request id, the
// client's address, strict JSON in and out, and the one place where an error
// becomes an answer. It knows no route, reads no file and opens no socket.
package httpkit
