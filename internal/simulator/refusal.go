package simulator

import (
	"fmt"
	"net/http"
	"time"

	"ollama-api-pool/internal/gateway"
)

// nativeError is an error of Ollama's own API.
type nativeError struct {
	Error string `json:"error"`
}

// openAIError is an error in OpenAI's form, as Ollama fills it.
type openAIError struct {
	Error struct {
		Message string  `json:"message"`
		Type    string  `json:"type"`
		Param   *string `json:"param"`
		Code    *string `json:"code"`
	} `json:"error"`
}

// anthropicError is an error in Anthropic's form.
type anthropicError struct {
	Type  string `json:"type"`
	Error struct {
		Type    string `json:"type"`
		Message string `json:"message"`
	} `json:"error"`
	RequestID string `json:"request_id"`
}

// openRouterError is OpenRouter's error
// (https://openrouter.ai/docs/api/reference/errors-and-debugging).
type openRouterError struct {
	Error struct {
		Message  string         `json:"message"`
		Code     int            `json:"code"`
		Metadata map[string]any `json:"metadata,omitempty"`
	} `json:"error"`
	UserID string `json:"user_id,omitempty"`
}

// refuse answers with an error in the form of the address.
func (c *call) refuse(status int, message string) {
	switch {
	case c.provider == gateway.OpenRouter:
		c.refuseWith(status, message, nil)
	case c.dialect == gateway.DialectOpenAI:
		var e openAIError
		e.Error.Message, e.Error.Type = message, openAIType(status)
		c.json(status, e)
	case c.dialect == gateway.DialectAnthropic:
		e := anthropicError{Type: "error", RequestID: c.id("req_")}
		e.Error.Message, e.Error.Type = message, anthropicType(status)
		c.json(status, e)
	default:
		c.json(status, nativeError{message})
	}
}

// refuseWith answers with OpenRouter's error and its metadata.
func (c *call) refuseWith(status int, message string, metadata map[string]any) {
	var e openRouterError
	e.Error.Message, e.Error.Code, e.Error.Metadata = message, status, metadata
	c.json(status, e)
}

func openAIType(status int) string {
	switch status {
	case http.StatusBadRequest:
		return "invalid_request_error"
	case http.StatusNotFound:
		return "not_found_error"
	}
	return "api_error"
}

func anthropicType(status int) string {
	switch status {
	case http.StatusBadRequest:
		return "invalid_request_error"
	case http.StatusUnauthorized:
		return "authentication_error"
	case http.StatusForbidden:
		return "permission_error"
	case http.StatusNotFound:
		return "not_found_error"
	case http.StatusTooManyRequests:
		return "rate_limit_error"
	case http.StatusServiceUnavailable:
		return "overloaded_error"
	}
	return "api_error"
}

// authorized answers 401 to keys that are revoked or not known, and reports
// whether the key is good.
func (c *call) authorized() bool {
	if c.fate(c.key) != FateRevoked {
		return true
	}
	switch {
	case c.provider == gateway.Ollama:
		c.refuse(http.StatusUnauthorized, "unauthorized")
	case c.key == "":
		c.refuse(http.StatusUnauthorized, "No auth credentials found")
	default:
		c.refuse(http.StatusUnauthorized, "User not found.")
	}
	return false
}

// served gives the key its fate for a model, and reports whether the request is
// to be answered after all.
func (c *call) served(m model) bool {
	fate := c.fate(c.key)
	if fate == FateLeaving {
		c.turn(c.key)
	}
	if fate == FateFlaky && c.flakes(c.key) {
		c.refuse(http.StatusServiceUnavailable, "Service Temporarily Unavailable")
		return false
	}
	if q, limited := quotas[fate]; limited {
		if until := c.spend(c.key, q); !until.IsZero() {
			c.refuseQuota(q, until)
			return false
		}
		return true
	}
	if c.provider == gateway.OpenRouter {
		return c.servedByOpenRouter(fate, m)
	}
	return c.servedByOllama(fate, m)
}

// servedByOllama refuses in words that Ollama Cloud uses; the 402 is made up,
// since no wording of it is known.
func (c *call) servedByOllama(fate Fate, m model) bool {
	switch {
	case fate == FateNoCredit:
		c.refuse(http.StatusPaymentRequired, "payment required, add extra usage: https://ollama.com/settings"+c.reference())
	case fate == FateOverQuota:
		c.refuse(http.StatusTooManyRequests, "you've reached your hourly usage limit, please wait or upgrade to continue")
	case fate == FateOverWeek:
		c.refuse(http.StatusTooManyRequests, "you've reached your weekly usage limit, please wait or upgrade to continue")
	case fate == FatePlan && m.extra:
		c.refuse(http.StatusForbidden, "this model requires a subscription, upgrade for access: https://ollama.com/upgrade"+c.reference())
	default:
		return true
	}
	return false
}

// servedByOpenRouter refuses as https://openrouter.ai/docs/api-reference/limits
// describes it.
func (c *call) servedByOpenRouter(fate Fate, m model) bool {
	switch {
	case fate == FateNoCredit:
		c.refuseWith(http.StatusPaymentRequired, "Insufficient credits. Add more using https://openrouter.ai/settings/credits",
			map[string]any{"limit_source": "openrouter_credits", "remedy_hint": "Add credits to your account."})
	case fate == FateOverQuota, fate == FateOverWeek:
		c.refuseRate("Rate limit exceeded: free-models-per-day. Add 10 credits to unlock 1000 free model requests per day", 50, nextDay(c.now()))
	case fate == FatePlan && m.extra:
		c.refuseWith(http.StatusPaymentRequired, "Key limit exceeded. Manage it using https://openrouter.ai/settings/keys",
			map[string]any{"limit_source": "openrouter_key_limit", "resets_at": nextDay(c.now()).Format(time.RFC3339)})
	default:
		return true
	}
	return false
}

// reference is what Ollama Cloud ends some messages with.
func (c *call) reference() string {
	n := c.counter.Add(1)
	return fmt.Sprintf(" (ref: 00000000-0000-4000-8000-%012x)", n)
}

// nextDay is the beginning of the next day, in UTC.
func nextDay(now time.Time) time.Time {
	return now.UTC().Truncate(24 * time.Hour).Add(24 * time.Hour)
}

// generating makes a handler of what answers a request for a model: the key is
// looked at first, so that {} tells a good one (400) from a bad one (401).
func generating(h func(c *call, a *ask, m model)) func(*call) {
	return func(c *call) {
		var a ask
		if !c.authorized() || !c.read(&a) {
			return
		}
		if a.Model == "" {
			c.refuse(http.StatusBadRequest, "model is required")
			return
		}
		m, ok := find(c.provider, a.Model)
		switch {
		case !ok && c.provider == gateway.OpenRouter:
			c.refuse(http.StatusBadRequest, a.Model+" is not a valid model ID")
		case !ok:
			c.refuse(http.StatusNotFound, fmt.Sprintf("model '%s' not found", a.Model))
		case c.served(m):
			c.slow = m.slow
			if n := c.generated.Add(1); c.slowEvery > 0 && n%int64(c.slowEvery) == 0 {
				c.slow = slowBy
			}
			h(c, &a, m)
		}
	}
}

// chats refuses models that only make vectors, and requests without what to
// answer; what names the field that is missing.
func (c *call) chats(m model, present bool, what string) bool {
	switch {
	case m.embeds:
		c.refuse(http.StatusBadRequest, fmt.Sprintf("%q does not support chat", m.id))
	case !present:
		c.refuse(http.StatusBadRequest, what+" is required")
	default:
		return true
	}
	return false
}
