package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"time"

	"ollama-api-pool/internal/gateway"
)

// stallTimeout is how long an instance may take to read a piece of an import.
const stallTimeout = time.Minute

const uploadBuffer = 64 << 10

// upload writes keys into the body of a request while they are read.
type upload struct {
	body  *io.PipeReader
	begun chan struct{} // closed with the first key
	ended chan struct{} // closed at the end, or when the body is not wanted any more
	why   chan error    // holds why the keys could not be read, if they could not
}

// sentKey is a key on its way to the API.
type sentKey struct {
	APIKey   string `json:"api_key"`
	Username string `json:"username,omitempty"`
}

// startUpload begins to read keys. cancel is called when the other side stops
// taking them. The reading ends with the keys or, at its next key, after the
// body was closed.
func startUpload(keys iter.Seq2[gateway.Key, error], cancel context.CancelCauseFunc) *upload {
	r, w := io.Pipe()
	u := &upload{body: r, begun: make(chan struct{}), ended: make(chan struct{}), why: make(chan error, 1)}
	go func() {
		defer close(u.ended)
		err := u.write(keys, bufio.NewWriterSize(&patient{w: w, cancel: cancel}, uploadBuffer))
		_ = w.CloseWithError(err) // never fails; without an error it is the end
	}()
	return u
}

// write writes the keys as the API reads them. The error is that of the keys
// or says that nobody reads the body.
func (u *upload) write(keys iter.Seq2[gateway.Key, error], w *bufio.Writer) error {
	begin := `{"keys":[`
	for k, err := range keys {
		if err != nil {
			u.why <- err
			return err
		}
		if begin != "," {
			close(u.begun)
		}
		line, err := json.Marshal(sentKey{k.Secret.Reveal(), k.Username}) //nolint:gosec // keys are what is sent
		if err != nil {
			u.why <- err
			return err
		}
		_, _ = w.WriteString(begin) // an error stays until the next call
		if _, err := w.Write(line); err != nil {
			return err
		}
		begin = ","
	}
	if begin != "," {
		return nil // there was no key
	}
	_, _ = w.WriteString("]}\n")
	return w.Flush()
}

// failure is why the keys could not be read, nil if they could so far. It is
// told once.
func (u *upload) failure() error {
	select {
	case err := <-u.why:
		return err
	default:
		return nil
	}
}

var errStalled = errors.New("it stopped reading the import")

// patient gives up when a piece is not taken in time.
type patient struct {
	w      io.Writer
	cancel context.CancelCauseFunc
}

// Write writes a piece.
func (p *patient) Write(b []byte) (int, error) {
	t := time.AfterFunc(stallTimeout, func() { p.cancel(errStalled) })
	defer t.Stop()
	return p.w.Write(b)
}
