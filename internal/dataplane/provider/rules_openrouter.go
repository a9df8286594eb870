package provider

import (
	"time"

	"ollama-api-pool/internal/gateway"
)

// Public pages on which OpenRouter's answers were read.
const (
	openRouterErrors    = "https://openrouter.ai/docs/api_reference/errors-and-debugging"
	openRouterLimits    = "https://openrouter.ai/docs/api_reference/limits"
	openRouterBudgets   = "https://www.developersdigest.tech/errors/api/openrouter/403-budget-limit-exceeded"
	openRouterKeyResets = "https://openrouter.ai/docs/client-sdks/typescript/models/operations/createkeyslimitreset.md"
	openRouterKeyLimit  = "https://github.com/RooCodeInc/Roo-Code/issues/515"
	openRouterForeign   = "https://github.com/OpenRouterTeam/ai-sdk-provider/issues/24"
	openRouterDaily     = "https://github.com/Gitlawb/openclaude/issues/936"
	openRouterShared    = "https://github.com/open-webui/computer/issues/293"
)

// inFlightRest is how long a key rests whose requests under way fill its
// budget, where no Retry-After says; holds are released within seconds.
const inFlightRest = 5 * time.Second

// openRouterRules hold for OpenRouter, whose errors are
// {"error":{"code","message","metadata"}}; metadata.limit_source tells which
// limit was hit. Spending limits come with 402 or, since 2026, with 403.
var openRouterRules = []Rule{
	{
		Name: "openrouter-weight", From: 402, To: 403,
		Fields: []string{"metadata.reason"}, Values: []string{"weight_exceeds_budget"},
		Scope: gateway.ScopeKey, Action: gateway.ActionNothing, Next: gateway.NextKey,
		Reason: "request over the key's budget",
		Why:    "this one request is dearer than the whole budget of the key; limit_source says openrouter_credits, so it goes first",
		Source: openRouterLimits,
	},
	{
		Name: "openrouter-in-flight", From: 402, To: 403,
		Fields: []string{"metadata.limit_source", "metadata.reason"},
		Values: []string{"openrouter_in_flight_budget", "in_flight_budget_exhausted"},
		Scope:  gateway.ScopeAccount, Action: gateway.ActionRestKey, Next: gateway.NextKey, For: inFlightRest,
		Reason: "quota: budget in flight",
		Why:    "the requests under way fill the budget, not the balance",
		Source: openRouterLimits,
	},
	{
		Name: "openrouter-credits", From: 402, To: 403,
		Fields: []string{"metadata.limit_source"}, Values: []string{"openrouter_credits"},
		Scope: gateway.ScopeAccount, Action: gateway.ActionFail, Next: gateway.NextKey,
		Reason: "402 no credit",
		Why:    "the account's balance is used up",
		Source: openRouterLimits,
	},
	{
		Name: "openrouter-limit-until", From: 402, To: 403,
		Fields: []string{"metadata.limit_source"}, Values: []string{"*_key_limit", "*_budget"}, Told: true,
		Scope: gateway.ScopeKey, Action: gateway.ActionRestKey, Next: gateway.NextKey,
		Reason: "quota: spending limit",
		Why:    "the limit of the key, its workspace or its guardrail is spent until resets_at",
		Source: openRouterBudgets,
	},
	{
		// Key limit exceeded (daily limit). Manage it using https://openrouter.ai/settings/keys
		Name: "openrouter-limit-daily", From: 402, To: 403,
		Words: []string{"limit exceeded (daily"},
		Scope: gateway.ScopeKey, Action: gateway.ActionRestKey, Next: gateway.NextKey, Window: WindowDay,
		Reason: "quota: spending limit, daily",
		Why:    "limits of keys are renewed at 00:00 UTC",
		Source: openRouterKeyResets,
	},
	{
		Name: "openrouter-limit-weekly", From: 402, To: 403,
		Words: []string{"limit exceeded (weekly"},
		Scope: gateway.ScopeKey, Action: gateway.ActionRestKey, Next: gateway.NextKey, Window: WindowWeek,
		Reason: "quota: spending limit, weekly",
		Why:    "weeks begin on Monday 00:00 UTC",
		Source: openRouterKeyResets,
	},
	{
		Name: "openrouter-limit-monthly", From: 402, To: 403,
		Words: []string{"limit exceeded (monthly"},
		Scope: gateway.ScopeKey, Action: gateway.ActionRestKey, Next: gateway.NextKey, Window: WindowMonth,
		Reason: "quota: spending limit, monthly",
		Why:    "months begin on the first, 00:00 UTC",
		Source: openRouterKeyResets,
	},
	{
		Name: "openrouter-limit", From: 402, To: 403,
		Fields: []string{"metadata.limit_source"}, Values: []string{"*_key_limit", "*_budget"},
		Scope: gateway.ScopeKey, Action: gateway.ActionFail, Next: gateway.NextKey,
		Reason: "402 no credit: spending limit",
		Why:    "a limit that is never renewed, or not told when, is as no credit",
		Source: openRouterBudgets,
	},
	{
		// Key limit exceeded (total limit).
		Name: "openrouter-limit-words", From: 402, To: 403,
		Words: []string{"key limit exceeded"},
		Scope: gateway.ScopeKey, Action: gateway.ActionFail, Next: gateway.NextKey,
		Reason: "402 no credit: spending limit",
		Why:    "the same, from before there was limit_source",
		Source: openRouterKeyLimit,
	},
	{
		Name: "openrouter-403-moderation", From: 403, To: 403,
		Fields: []string{"metadata.reasons", "metadata.flagged_input", "metadata.patterns"},
		Scope:  gateway.ScopeRequest, Action: gateway.ActionNothing, Next: gateway.NextDeliver,
		Reason: "403 input refused",
		Why:    "moderation or a guardrail refused what the client sent",
		Source: openRouterErrors,
	},
	{
		Name: "openrouter-403-policy", From: 403, To: 403,
		Fields: []string{"metadata.error_type", "error_type"}, Values: []string{"content_policy_violation", "refusal"},
		Scope: gateway.ScopeRequest, Action: gateway.ActionNothing, Next: gateway.NextDeliver,
		Reason: "403 input refused",
		Why:    "a filter of the model or of its provider refused what the client sent",
		Source: openRouterErrors,
	},
	{
		// {"message":"Provider returned error","code":401,"metadata":{"raw":"… invalid x-api-key …","provider_name":"Anthropic"}}
		Name: "openrouter-foreign", From: 401, To: 403,
		Fields: []string{"metadata.provider_name"},
		Scope:  gateway.ScopeUnknown, Action: gateway.ActionNothing, Next: gateway.NextKey,
		Reason: "refused by the model's provider",
		Why:    "the provider behind OpenRouter refused OpenRouter's credentials, or the account's own for it; our key is good",
		Source: openRouterForeign,
	},
	{
		// Rate limit exceeded: free-models-per-day. With X-RateLimit-Reset in ms, in the header or in metadata.headers.
		Name: "openrouter-429-daily", From: 429, To: 429,
		Words: []string{"free models per day"},
		Scope: gateway.ScopeAccount, Action: gateway.ActionRest, Next: gateway.NextKey, Window: WindowDay,
		Reason: "quota: daily",
		Why:    "the account's free requests of the day are used up",
		Source: openRouterDaily,
	},
	{
		Name: "openrouter-429-daily-source", From: 429, To: 429,
		Fields: []string{"metadata.limit_source"}, Values: []string{"*_daily"},
		Scope: gateway.ScopeAccount, Action: gateway.ActionRest, Next: gateway.NextKey, Window: WindowDay,
		Reason: "quota: daily",
		Why:    "the same, told by limit_source",
		Source: openRouterLimits,
	},
	{
		Name: "openrouter-429-account", From: 429, To: 429,
		Fields: []string{"metadata.limit_source"}, Values: []string{"openrouter_*"},
		Scope: gateway.ScopeAccount, Action: gateway.ActionRest, Next: gateway.NextKey,
		Reason: "quota",
		Why:    "a limit of OpenRouter's own, even if a provider is named as well",
		Source: openRouterLimits,
	},
	{
		Name: "openrouter-429-model", From: 429, To: 429,
		Fields: []string{"metadata.provider_name", "metadata.provider_code"},
		Scope:  gateway.ScopeModel, Action: gateway.ActionNothing, Next: gateway.NextDeliver,
		Reason: "429 of the model's provider",
		Why:    "the provider of the model is at its limit, for every key",
		Source: openRouterShared,
	},
	{
		// …:free is temporarily rate-limited upstream. Please retry shortly, or add your own key …
		Name: "openrouter-429-upstream", From: 429, To: 429,
		Words: []string{"rate limited upstream"},
		Scope: gateway.ScopeModel, Action: gateway.ActionNothing, Next: gateway.NextDeliver,
		Reason: "429 of the model's provider",
		Why:    "the same, in words only",
		Source: openRouterShared,
	},
}
