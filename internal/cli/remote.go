package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"ollama-api-pool/internal/gateway"
)

// Bounds of a conversation with an instance.
const (
	connectTimeout = 5 * time.Second
	readyTimeout   = 2 * time.Second
	callTimeout    = time.Minute     // one call and its answer, imports apart
	answerTimeout  = 5 * time.Minute // from the last byte of an import to its answer
	maxAnswer      = 256 << 20       // bytes
	maxErrorAnswer = 64 << 10        // bytes
	largestPage    = 200             // keys in one answer
)

// remote is an instance that runs, asked over its admin API.
type remote struct {
	base   string // without a slash at its end
	token  gateway.Secret
	client *http.Client
}

// newRemote speaks to the instance at base. proxy, which may be nil, chooses an
// HTTP proxy.
func newRemote(base string, token gateway.Secret, proxy func(*http.Request) (*url.URL, error)) *remote {
	return &remote{
		base: base, token: token,
		client: &http.Client{
			Transport: &http.Transport{
				Proxy:                 proxy,
				DialContext:           (&net.Dialer{Timeout: connectTimeout}).DialContext,
				TLSHandshakeTimeout:   connectTimeout,
				ResponseHeaderTimeout: answerTimeout,
				ExpectContinueTimeout: time.Second,
				ForceAttemptHTTP2:     true,
			},
			// The admin token goes nowhere but where it was meant to.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// distant speaks to the instance of --server.
func distant(server string, token gateway.Secret) (operator, error) {
	base, err := serverAddress("--server", server)
	if err != nil {
		return nil, err
	}
	if token == "" {
		return nil, errors.New("--server needs the admin token of that instance: set ADMIN_TOKEN")
	}
	return newRemote(base, token, http.ProxyFromEnvironment), nil
}

// ready reports whether the instance serves.
func (r *remote) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.base+"/health/ready", http.NoBody)
	if err != nil {
		return fmt.Errorf("ask %s: %w", r.base, err)
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return r.unreachable(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s is not ready", r.base)
	}
	return nil
}

// Tokens implements operator.
func (r *remote) Tokens(ctx context.Context) ([]tokenRow, error) {
	var list struct {
		Tokens []tokenRow `json:"tokens"`
	}
	err := r.call(ctx, http.MethodGet, "/admin/tokens", nil, nil, &list)
	return list.Tokens, err
}

// CreateToken implements operator.
func (r *remote) CreateToken(ctx context.Context, name string, providers []gateway.ProviderName, ttl time.Duration, limits map[string]any) (newToken, error) {
	ask := struct {
		Name      string         `json:"name"`
		Provider  string         `json:"provider"`
		ExpiresIn int64          `json:"expiresIn,omitempty"` // seconds
		Limits    map[string]any `json:"limits,omitempty"`
	}{name, everyProvider, int64(ttl / time.Second), limits}
	if len(providers) == 1 {
		ask.Provider = string(providers[0])
	}
	made := newToken{Providers: providers}
	err := r.call(ctx, http.MethodPost, "/admin/tokens", nil, ask, &made)
	return made, err
}

// RevokeToken implements operator.
func (r *remote) RevokeToken(ctx context.Context, ref string) error {
	return r.call(ctx, http.MethodDelete, "/admin/tokens", nil, map[string]string{"token": ref}, nil)
}

// URL implements operator.
func (r *remote) URL() string { return r.base }

// Runs implements operator.
func (r *remote) Runs() bool { return true }

// Close implements operator.
func (r *remote) Close(context.Context) error {
	r.client.CloseIdleConnections()
	return nil
}

// call makes a call with body, unless that is nil, as JSON, and reads the
// answer into one, unless that is nil.
func (r *remote) call(ctx context.Context, method, path string, query url.Values, body, into any) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if body == nil {
		return r.send(ctx, method, path, query, http.NoBody, into)
	}
	text, err := encoded(body)
	if err != nil {
		return err
	}
	return r.send(ctx, method, path, query, text, into)
}

// encoded is the body of a call as JSON.
func encoded(body any) (io.Reader, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("encode a call: %w", err)
	}
	return bytes.NewReader(text), nil
}

func (r *remote) send(ctx context.Context, method, path string, query url.Values, body io.Reader, into any) error {
	resp, err := r.do(ctx, method, path, query, body, "application/json")
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	return r.read(resp, into)
}

// stream makes a call whose answer may take as long as it takes, if only
// something comes now and then.
func (r *remote) stream(ctx context.Context, method, path string, query url.Values, body io.Reader, accept string, read func(io.Reader) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	resp, err := r.do(ctx, method, path, query, body, accept)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return r.refusal(resp)
	}
	awake := time.AfterFunc(stallTimeout, func() { cancel(errSilent) })
	defer awake.Stop()
	err = read(&heard{resp.Body, awake})
	if why := context.Cause(ctx); err != nil && why != nil {
		return r.unreachable(why)
	}
	return err
}

var errSilent = errors.New("it stopped in the middle of its answer")

// heard puts off a timer whenever something is read.
type heard struct {
	r     io.Reader
	timer *time.Timer
}

// Read reads.
func (h *heard) Read(b []byte) (int, error) {
	n, err := h.r.Read(b)
	h.timer.Reset(stallTimeout)
	return n, err
}

// do makes a call and gives its answer, whatever that is; its body is to be
// closed.
func (r *remote) do(ctx context.Context, method, path string, query url.Values, body io.Reader, accept string) (*http.Response, error) {
	address := r.base + path
	if len(query) > 0 {
		address += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, address, body)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", r.base, err)
	}
	req.Header.Set("Authorization", "Bearer "+r.token.Reveal())
	req.Header.Set("Accept", accept)
	req.Header.Set("User-Agent", "ollama-api-pool/"+Version())
	if body != http.NoBody {
		req.Header.Set("Content-Type", "application/json")
	}
	if source, _ := ctx.Value(sourceKey{}).(string); source != "" {
		req.Header.Set("X-Import-Source", url.PathEscape(source))
	}
	if req.ContentLength == 0 && body != http.NoBody {
		req.Header.Set("Expect", "100-continue") // an upload that is refused need not be sent
	}
	resp, err := r.client.Do(req)
	if err != nil {
		if why := context.Cause(ctx); why != nil {
			err = why
		}
		return nil, r.unreachable(err)
	}
	return resp, nil
}

// read reads an answer.
func (r *remote) read(resp *http.Response, into any) error {
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return r.refusal(resp)
	}
	body := &io.LimitedReader{R: resp.Body, N: maxAnswer}
	if into == nil {
		return nil
	}
	if err := json.NewDecoder(body).Decode(into); err != nil {
		return fmt.Errorf("%s does not answer as an instance does: %w", r.base, err)
	}
	return nil
}

// refusal is the error that an answer tells, in the API's own words.
func (r *remote) refusal(resp *http.Response) error {
	var told struct {
		Error struct {
			Message string `json:"message"`
			Code    string `json:"code"`
		} `json:"error"`
	}
	text, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorAnswer))
	if json.Unmarshal(text, &told) != nil || told.Error.Message == "" {
		return fmt.Errorf("%s does not answer as an instance does: status %d", r.base, resp.StatusCode)
	}
	message := printable(told.Error.Message)
	if resp.StatusCode == http.StatusUnauthorized {
		message += "\nIt was " + r.base + " that was asked. Its admin token is ADMIN_TOKEN in its settings, else in its DATA_DIR/admin-token."
	}
	if resp.StatusCode == http.StatusNotFound && told.Error.Code == "not_found" {
		if strings.HasPrefix(resp.Request.URL.Path, "/admin/") && message == unknownAddress {
			return fmt.Errorf("%s does not know this call: is it an older version?", r.base)
		}
		return partError{errors.New(message)}
	}
	return errors.New(message)
}

// unknownAddress is what the API says of a call that it does not know.
const unknownAddress = "no such address"

// unreachable is the error of a call that got no answer. The address is left
// out but for its beginning: what was searched for may be a key.
func (r *remote) unreachable(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	if errors.Is(err, context.DeadlineExceeded) {
		err = errors.New("no answer in time")
	}
	return fmt.Errorf("ask %s: %w", r.base, err)
}
