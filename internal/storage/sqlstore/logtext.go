package sqlstore

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"time"

	"ollama-api-pool/internal/gateway"
)

// logText is the text of an entry in the request log: what has no column. Its
// names are short because there are many entries. Times are in microseconds;
// scopes, actions and the like are the numbers of package gateway, which are
// only ever added to.
type logText struct {
	Upstream  string       `json:"u,omitempty"`
	Path      string       `json:"p,omitempty"`
	TokenName string       `json:"n,omitempty"`
	Client    netip.Addr   `json:"c,omitzero"`
	Agent     string       `json:"a,omitempty"`
	End       gateway.End  `json:"e,omitempty"`
	Error     string       `json:"x,omitempty"`
	Stream    bool         `json:"s,omitempty"`
	Cache     string       `json:"h,omitempty"`
	Sent      int64        `json:"b,omitempty"`
	Input     int64        `json:"i,omitempty"`
	Output    int64        `json:"o,omitempty"`
	Cost      gateway.Cost `json:"k,omitempty"`
	FirstByte int64        `json:"f,omitempty"`
	Trail     []stepText   `json:"t,omitempty"`
}

// stepText is one attempt of it.
type stepText struct {
	Key      gateway.KeyID  `json:"k,omitempty"`
	Status   int            `json:"s,omitempty"`
	Scope    gateway.Scope  `json:"c,omitempty"`
	Action   gateway.Action `json:"a,omitempty"`
	Next     gateway.Next   `json:"n,omitempty"`
	Reason   string         `json:"r,omitempty"`
	Until    int64          `json:"u,omitempty"`
	OK       bool           `json:"o,omitempty"`
	Began    int64          `json:"b,omitempty"`
	Duration int64          `json:"d,omitempty"`
}

// encodeEntry makes an entry's text.
func encodeEntry(e *gateway.LogEntry) string {
	t := logText{
		Upstream: e.UpstreamRequestID, Path: e.Path, TokenName: e.TokenName, Client: e.Client.WithZone(""), Agent: e.Agent,
		End: e.End, Error: e.Error, Stream: e.Stream, Cache: e.Cache, Sent: e.Sent,
		Input: e.Usage.Input, Output: e.Usage.Output, Cost: e.Usage.Cost,
		FirstByte: e.FirstByte.Microseconds(),
	}
	for i := range e.Trail {
		st := &e.Trail[i]
		step := stepText{
			Key: st.Key, Status: st.Status, Scope: st.Scope, Action: st.Action, Next: st.Next, Reason: st.Reason, OK: st.OK,
			Began: st.Began.Microseconds(), Duration: st.Duration.Microseconds(),
		}
		if !st.Until.IsZero() {
			step.Until = st.Until.UnixMicro()
		}
		t.Trail = append(t.Trail, step)
	}
	return compactJSON(t)
}

// compactJSON encodes what consists of plain fields and so cannot fail.
func compactJSON(v any) string {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v)
	return string(bytes.TrimSuffix(buf.Bytes(), []byte("\n")))
}

// decodeEntry fills in an entry from its text. One that cannot be read, because
// somebody else has written it, leaves what the columns say, with a note: the
// rest of the log must stay readable.
func decodeEntry(text string, e *gateway.LogEntry) {
	var t logText
	if err := json.Unmarshal([]byte(text), &t); err != nil {
		e.Error = "the details of this entry cannot be read"
		return
	}
	e.UpstreamRequestID, e.Path, e.TokenName, e.Client, e.Agent = t.Upstream, t.Path, t.TokenName, t.Client, t.Agent
	e.End, e.Error, e.Stream, e.Cache, e.Sent = min(t.End, gateway.EndCut), t.Error, t.Stream, t.Cache, t.Sent
	e.Usage = gateway.Usage{Input: t.Input, Output: t.Output, Cost: t.Cost}
	e.FirstByte = micros(t.FirstByte)
	for i := range t.Trail {
		st := &t.Trail[i]
		step := gateway.TrailStep{
			Key: st.Key, Status: st.Status, Reason: st.Reason, OK: st.OK,
			Scope:  min(st.Scope, gateway.ScopeUnknown),
			Action: min(st.Action, gateway.ActionStrike),
			Next:   min(st.Next, gateway.NextStop),
			Began:  micros(st.Began), Duration: micros(st.Duration),
		}
		if st.Until != 0 {
			step.Until = time.UnixMicro(st.Until).UTC()
		}
		e.Trail = append(e.Trail, step)
	}
}

func micros(n int64) time.Duration { return time.Duration(n) * time.Microsecond }
