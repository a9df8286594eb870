package admin

import (
	"net/http"
	"time"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/httpkit"
)

// requestEntry is all that is kept of a request.
type requestEntry struct {
	requestRow
	UpstreamRequestID *string      `json:"upstreamRequestId"`
	Client            *string      `json:"client" description:"The address of the client."`
	Agent             *string      `json:"agent"`
	Sent              int64        `json:"sentBytes" description:"Bytes of the request's body."`
	Steps             []stepAnswer `json:"steps" description:"The attempts, in their order."`
}

// stepAnswer is one attempt.
type stepAnswer struct {
	Key      gateway.KeyID `json:"key"`
	APIKey   *string       `json:"apiKey" description:"Masked; null where the key is gone."`
	Status   int           `json:"status" description:"The upstream's, 0 if none came."`
	OK       bool          `json:"ok"`
	Scope    string        `json:"scope" enum:"none,request,model,key+model,key,account,provider,client,unknown" description:"Whose fault the outcome was."`
	Action   string        `json:"action" enum:"nothing,rest account,rest key,fail key,pass over for model,strike breaker" description:"What was done about it."`
	Next     string        `json:"next" enum:"deliver,next key,one more key,retry after a pause,stop" description:"What happened to the request."`
	Reason   string        `json:"reason"`
	Until    *time.Time    `json:"until" description:"When the key returns that is out by it; null: it is not, or nobody knows."`
	Did      string        `json:"did" description:"The same as a sentence."`
	Began    float64       `json:"beganMs" description:"After the request's start."`
	Duration float64       `json:"durationMs" description:"Until the verdict."`
}

var requestDoc = operation{
	summary: "One request with its attempts",
	about:   "The newest request with this id: clients may choose the id of a request, and so choose one twice.",
	group:   "Requests", answer: requestEntry{},
}

// showRequest shows one request of the log.
func (a *API) showRequest(w http.ResponseWriter, r *http.Request) error {
	if err := a.figures.Settle(r.Context()); err != nil {
		return err
	}
	e, found, err := a.figures.Request(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	if !found {
		return gateway.Errorf(gateway.KindNotFound, "no such request in the log")
	}
	out := requestEntry{
		requestRow: a.newRequestRow(&e), UpstreamRequestID: textOrNull(e.UpstreamRequestID), Agent: textOrNull(e.Agent),
		Sent: e.Sent, Steps: make([]stepAnswer, 0, len(e.Trail)),
	}
	if e.Client.IsValid() {
		out.Client = textOrNull(e.Client.String())
	}
	for i := range e.Trail {
		out.Steps = append(out.Steps, a.newStepAnswer(e.Provider, &e.Trail[i]))
	}
	return httpkit.WriteJSON(w, http.StatusOK, out)
}

func (a *API) newStepAnswer(p gateway.ProviderName, s *gateway.TrailStep) stepAnswer {
	return stepAnswer{
		Key: s.Key, APIKey: a.masked(p, s.Key), Status: s.Status, OK: s.OK,
		Scope: s.Scope.String(), Action: s.Action.String(), Next: s.Next.String(), Reason: s.Reason,
		Until: orNull(s.Until), Did: did(s), Began: milliseconds(s.Began), Duration: milliseconds(s.Duration),
	}
}

// did says in a sentence what was done about an attempt.
func did(s *gateway.TrailStep) string {
	what := ""
	switch s.Action {
	case gateway.ActionNothing:
		what = "nothing is held against the key"
		if s.OK {
			what = "served"
		}
	case gateway.ActionRest:
		what = "the keys of the account rest" + until(s)
	case gateway.ActionRestKey:
		what = "the key rests" + until(s)
	case gateway.ActionFail:
		what = "the key is marked as refused"
		if s.Scope == gateway.ScopeAccount {
			what = "the keys of the account are marked as refused"
		}
		what += until(s)
	case gateway.ActionPassOver:
		what = "the key is passed over for this model" + until(s)
	case gateway.ActionStrike:
		what = "the upstream is at fault, not the key; the breaker took note"
	}
	switch s.Next {
	case gateway.NextKey, gateway.NextKeyOnce:
		return what + "; another key is tried where there is one"
	case gateway.NextAfterPause:
		return what + "; tried again after a pause where that is left"
	case gateway.NextStop:
		return what + "; nobody waits for an answer any more"
	case gateway.NextDeliver:
		if !s.OK {
			return what + "; the answer is passed on"
		}
	}
	return what
}

func until(s *gateway.TrailStep) string {
	if s.Until.IsZero() {
		return ""
	}
	return " until " + s.Until.UTC().Format("2006-01-02 15:04:05 UTC")
}
