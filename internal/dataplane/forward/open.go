package forward

import (
	"bytes"
	"io"
	"net/http"

	"ollama-api-pool/internal/gateway"
)

// held is a body that was read ahead of Serve.
type held struct {
	io.Reader
	data []byte
}

// Close does nothing: the body is in memory.
func (*held) Close() error { return nil }

// Open reads a request's body ahead of Serve, for a step that needs it before,
// and finds everything wrong with it that Serve would find before asking
// upstream. The body stays in the request, where Serve takes it up without
// reading it again; nobody may change it.
func (f *Forwarder) Open(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	x := gateway.ExchangeFrom(r.Context())
	body, err := f.read(w, r, x)
	if err != nil {
		return nil, err
	}
	if _, err := f.upstream(x.Route.Provider); err != nil {
		body.release()
		return nil, err
	}
	r.Body, r.ContentLength = &held{bytes.NewReader(body.data), body.data}, int64(len(body.data))
	return body.data, nil
}

// read takes in a request's body, and notes in the exchange what it is about.
// It refuses a model that the client's token may not use.
func (f *Forwarder) read(w http.ResponseWriter, r *http.Request, x *gateway.Exchange) (*payload, error) {
	if coded := r.Header.Get("Content-Encoding"); coded != "" && coded != "identity" {
		return nil, gateway.Errorf(gateway.KindMediaType, "a request body in Content-Encoding %q cannot be passed on: send it plain", gateway.Clip(coded, 40))
	}
	calm := hurry(w, r, f.opts.Now())
	body, err := readPayload(r, f.opts.MaxBodyBytes)
	calm()
	if err != nil {
		return nil, err
	}
	x.Record.Counted = x.Principal != nil
	x.Record.Model, x.Record.Sent = gateway.StrikeTokens(modelName(body.data)), int64(len(body.data))
	if err := mayUse(x, body.data); err != nil {
		body.release()
		return nil, err
	}
	return body, nil
}
