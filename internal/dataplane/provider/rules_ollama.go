package provider

import "ollama-api-pool/internal/gateway"

// Public pages on which Ollama Cloud's answers were read.
const (
	ollamaPlanPage    = "https://github.com/ollama/ollama/issues/15990"
	ollamaHourlyPage  = "https://github.com/continuedev/continue/issues/9233"
	ollamaSessionPage = "https://github.com/continuedev/continue/issues/11444"
	ollamaWeeklyPage  = "https://github.com/HomericIntelligence/Scylla/issues/346"
	ollamaMonthlyPage = "https://github.com/can1357/oh-my-pi/pull/10513"
	ollamaSlotsPage   = "https://github.com/devops-thiago/ThrillhouseBot/issues/838"
	ollamaPathPage    = "https://github.com/ollama/ollama/issues/14496"
	ollamaModelPage   = "https://github.com/diegosouzapw/OmniRoute/issues/2203"
)

// ollamaRules hold for Ollama Cloud. It writes errors as {"error":"…"}, as
// OpenAI's or Anthropic's object (https://docs.ollama.com/api/errors) or as a
// web page, and sends no Retry-After: the words name the window. When windows
// end: https://github.com/Sarrius/pi-multi-account/issues/30.
var ollamaRules = []Rule{
	{
		// this model requires a subscription, upgrade for access: https://ollama.com/upgrade (ref: …)
		// this model is not included in your free usage (with 402)
		Name: "ollama-plan", From: 402, To: 403,
		Words: []string{"requires a subscription", "upgrade for access", "not included in your"},
		Scope: gateway.ScopeKeyModel, Action: gateway.ActionPassOver, Next: gateway.NextKeyOnce, For: planTime,
		Reason: "plan lacks the model",
		Why:    "the account is good, but its plan lacks the model",
		Source: ollamaPlanPage,
	},
	{
		// you've reached your hourly usage limit, please wait or upgrade to continue
		Name: "ollama-429-hourly", From: 429, To: 429,
		Words: []string{"hourly usage limit", "hourly limit"},
		Scope: gateway.ScopeAccount, Action: gateway.ActionRest, Next: gateway.NextKey, Window: WindowHour,
		Reason: "quota: hourly",
		Why:    "the account rests until the next full hour",
		Source: ollamaHourlyPage,
	},
	{
		// you (name) have reached your session usage limit, upgrade for higher limits: …
		Name: "ollama-429-session", From: 429, To: 429,
		Words: []string{"session usage limit", "session limit"},
		Scope: gateway.ScopeAccount, Action: gateway.ActionRest, Next: gateway.NextKey, Window: WindowSession,
		Reason: "quota: session",
		Why:    "sessions of five hours, at multiples of 18,000 s of the epoch",
		Source: ollamaSessionPage,
	},
	{
		Name: "ollama-429-daily", From: 429, To: 429,
		Words: []string{"daily usage limit", "daily limit"},
		Scope: gateway.ScopeAccount, Action: gateway.ActionRest, Next: gateway.NextKey, Window: WindowDay,
		Reason: "quota: daily",
		Why:    "the account rests until 00:00 UTC",
	},
	{
		Name: "ollama-429-weekly", From: 429, To: 429,
		Words: []string{"weekly usage limit", "weekly limit"},
		Scope: gateway.ScopeAccount, Action: gateway.ActionRest, Next: gateway.NextKey, Window: WindowWeek,
		Reason: "quota: weekly",
		Why:    "weeks begin on Monday 00:00 UTC",
		Source: ollamaWeeklyPage,
	},
	{
		// you (name) have reached your monthly usage limit, upgrade for higher limits or add usage credits
		Name: "ollama-429-monthly", From: 429, To: 429,
		Words: []string{"monthly usage limit", "monthly limit"},
		Scope: gateway.ScopeAccount, Action: gateway.ActionRest, Next: gateway.NextKey,
		Reason: "quota: monthly",
		Why:    "billing months end on a day that is not told, so the rests grow instead",
		Source: ollamaMonthlyPage,
	},
	{
		// timed out waiting for a concurrent request slot
		Name: "ollama-429-slots", From: 429, To: 429,
		Words: []string{"concurrent request slot", "concurrent request", "concurrent requests"},
		Scope: gateway.ScopeAccount, Action: gateway.ActionRest, Next: gateway.NextKey,
		Reason: "quota: requests at once",
		Why:    "the account has too many requests under way",
		Source: ollamaSlotsPage,
	},
	{
		// path "/v1/embeddings" not found
		Name: "ollama-404-path", From: 404, To: 404,
		Words: []string{"path … not found", "404 page not found"},
		Scope: gateway.ScopeRequest, Action: gateway.ActionNothing, Next: gateway.NextDeliver,
		Reason: "404 address unknown upstream",
		Why:    "the provider lacks the address",
		Source: ollamaPathPage,
	},
	{
		// model "gpt-oss-120b" not found
		Name: "ollama-404-model", From: 404, To: 404,
		Words: []string{"model … not found"},
		Scope: gateway.ScopeRequest, Action: gateway.ActionNothing, Next: gateway.NextDeliver,
		Reason: "404 model unknown upstream",
		Why:    "the client asked for a model that there is not",
		Source: ollamaModelPage,
	},
}
