package provider

import (
	"time"

	"ollama-api-pool/internal/gateway"
)

// planTime is how long a key is passed over for a model that its plan lacks.
const planTime = 24 * time.Hour

// planWords say that the key is good but its plan lacks the model.
var planWords = []string{
	"requires a subscription", "requires subscription", "subscription required",
	"upgrade for access", "upgrade to access", "upgrade your plan", "upgrade your subscription",
	"not included in your", "requires a paid", "paid plan", "free plan", "your plan", "current plan",
}

// anyRules hold for any upstream, after its own rules. They are the rows of
// the contract's table; what speaks of the input goes before what speaks of the
// model, and that before what speaks of the key: the milder reading first.
var anyRules = []Rule{
	{
		Name: "any-2xx", From: 200, To: 299,
		Scope: gateway.ScopeNone, Action: gateway.ActionNothing, Next: gateway.NextDeliver,
		Why: "it worked",
	},
	{
		Name: "any-3xx", From: 300, To: 399,
		Scope: gateway.ScopeRequest, Action: gateway.ActionNothing, Next: gateway.NextDeliver, Reason: "redirect",
		Why: "a redirect is passed on, never followed",
	},
	{
		Name: "any-401", From: 401, To: 401,
		Scope: gateway.ScopeKey, Action: gateway.ActionFail, Next: gateway.NextKey, Reason: "401 unauthorized",
		Why: "the upstream refuses the key",
	},
	{
		Name: "any-402", From: 402, To: 402,
		Scope: gateway.ScopeKey, Action: gateway.ActionFail, Next: gateway.NextKey, Reason: "402 no credit",
		Why: "the key has no credit left",
	},
	{
		Name: "any-403-page", From: 403, To: 403, Page: true,
		Scope: gateway.ScopeProvider, Action: gateway.ActionStrike, Next: gateway.NextAfterPause, Reason: "403 web page",
		Why: "a firewall or a proxy in front of the upstream, not the upstream, refused us",
	},
	{
		Name: "any-403-input", From: 403, To: 403,
		Words: []string{
			"moderation", "input was flagged", "input flagged", "flagged input", "content flagged",
			"content policy", "content filter", "policy violation", "violates … policy", "request blocked",
			"prompt injection", "blocked by … guardrail", "guardrail blocked",
		},
		Scope: gateway.ScopeRequest, Action: gateway.ActionNothing, Next: gateway.NextDeliver, Reason: "403 input refused",
		Why: "what the client sent was refused; another key would be refused as well",
	},
	{
		Name: "any-403-banned", From: 403, To: 403,
		Words: []string{
			"suspended", "banned", "deactivated", "terminated", "revoked", "disabled",
			"invalid key", "invalid api key", "incorrect api key", "invalid token", "unauthorized",
		},
		Unless: []string{"model", "models", "feature", "endpoint", "method", "provider", "plugin", "tool", "search"},
		Scope:  gateway.ScopeKey, Action: gateway.ActionFail, Next: gateway.NextKey, Reason: "403 key refused",
		Why: "the key or its account is shut out; a model or a feature that is disabled is not meant",
	},
	{
		Name: "any-403-plan", From: 403, To: 403,
		Words: append([]string{
			"access to … model", "model … access", "model … not available", "model … not allowed",
			"not allowed … model", "permission … model", "model … plan", "plan … model",
		}, planWords...),
		Scope: gateway.ScopeKeyModel, Action: gateway.ActionPassOver, Next: gateway.NextKeyOnce, For: planTime,
		Reason: "plan lacks the model",
		Why:    "the key is good, but not for this model; one other key is asked before the answer is passed on",
	},
	{
		Name: "any-403-key", From: 403, To: 403,
		Words: []string{
			"key", "keys", "apikey", "account", "user not found", "credential", "credentials",
			"authentication", "authentication error", "not authenticated",
		},
		Scope: gateway.ScopeKey, Action: gateway.ActionFail, Next: gateway.NextKey, Reason: "403 key refused",
		Why: "the refusal speaks of the key or its account",
	},
	{
		Name: "any-403", From: 403, To: 403,
		Scope: gateway.ScopeUnknown, Action: gateway.ActionNothing, Next: gateway.NextKey, Reason: "403 unexplained",
		Why:    "nobody knows whose fault it is, so nobody is punished; Ollama Cloud answered every key so for hours",
		Source: "https://github.com/ollama/ollama/issues/17471",
	},
	{
		Name: "any-408", From: 408, To: 408,
		Scope: gateway.ScopeProvider, Action: gateway.ActionStrike, Next: gateway.NextAfterPause, Reason: "408 upstream timeout",
		Why: "the upstream did not finish in time",
	},
	{
		Name: "any-429", From: 429, To: 429,
		Scope: gateway.ScopeAccount, Action: gateway.ActionRest, Next: gateway.NextKey, Reason: "quota",
		Why: "the account's quota is used up until the time that is told, else for growing rests",
	},
	{
		Name: "any-4xx", From: 400, To: 499,
		Scope: gateway.ScopeRequest, Action: gateway.ActionNothing, Next: gateway.NextDeliver, Reason: "request refused",
		Why: "the request is at fault; every key would be answered so",
	},
	{
		Name: "any-5xx", From: 500, To: 599,
		Scope: gateway.ScopeProvider, Action: gateway.ActionStrike, Next: gateway.NextAfterPause, Reason: "upstream fault",
		Why:    "an upstream outage must never cost a key; a retired model of Ollama Cloud also gives 500",
		Source: "https://github.com/heypinchy/pinchy/issues/304",
	},
	{
		Name: "any", From: lowestStatus, To: highestStatus,
		Scope: gateway.ScopeUnknown, Action: gateway.ActionNothing, Next: gateway.NextKey, Reason: "no rule knows it",
		Why: "the default: another key, nobody punished",
	},
}
