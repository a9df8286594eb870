package forward

import (
	"errors"
	"fmt"
	"time"

	"ollama-api-pool/internal/dataplane/pool"
	"ollama-api-pool/internal/gateway"
)

// noKey explains to the client why there is no key for its first attempt.
func (j *job) noKey(err error) error {
	var e *pool.Exhausted
	if !errors.As(err, &e) {
		return err
	}
	name := j.up.Adapter.Name
	out := &gateway.Error{Kind: gateway.KindNoKey, RetryAfter: e.RetryAfter}
	switch e.Reason {
	case pool.Empty:
		out.Final = true
		out.Message = fmt.Sprintf("the %s pool has no keys: add some with POST /admin/api-keys, or with `ollama-api-pool keys import FILE`", name)
		if name != gateway.Ollama {
			out.Message = fmt.Sprintf("the %s pool has no keys: add some with POST /admin/api-keys?provider=%s, or with `ollama-api-pool keys import --provider %s FILE`", name, name, name)
		}
	case pool.AllResting:
		out.Kind = gateway.KindRateLimited
		out.Message = fmt.Sprintf("every %s key is out of quota; the first returns in %s", name, span(e.RetryAfter))
	case pool.NoneForPlan:
		out.Message = fmt.Sprintf("no usable %s key may use this model: their plans lack it", name)
		out.Final = e.RetryAfter == 0
	case pool.BreakerOpen:
		out.Message = fmt.Sprintf("%s is not answering; it is tried again every second", name)
		if e.Refusal != "" {
			out.Message = fmt.Sprintf("%s refuses every key (%s), so the fault is hardly with the keys; it is tried again every second", name, e.Refusal)
		}
	default:
		out.Message = fmt.Sprintf("no %s key is usable now", name)
		out.Final = e.RetryAfter == 0 // none returns by itself
		if e.RetryAfter > 0 {
			out.Message += "; the first returns in " + span(e.RetryAfter)
		}
	}
	return out
}

// refused explains that attempts were made and all met the same wall.
func (j *job) refused(kind gateway.Kind, message string, v *gateway.Verdict) error {
	wait, usable := j.up.Pool.SoonestReturn(j.f.opts.Now())
	if usable {
		wait = time.Second
	}
	return &gateway.Error{
		Kind: kind, RetryAfter: wait, Final: wait == 0,
		Message: fmt.Sprintf("%s (last: %s)", message, v.Reason),
	}
}

func span(d time.Duration) string {
	return d.Round(time.Second).String()
}
