package app

import (
	"ollama-api-pool/internal/config"
	"ollama-api-pool/internal/dataplane/provider"
	"ollama-api-pool/internal/gateway"
)

// Rule is a row of the tables by which upstream answers are judged.
type Rule = provider.Rule

// UpstreamAnswer is an answer to be judged.
type UpstreamAnswer = provider.Answer

// Judge is what judges a provider's answers, and the tables by which it does.
// It is pure and may be used concurrently.
type Judge interface {
	// Explain judges an answer and tells by which rule.
	Explain(answer UpstreamAnswer) (Rule, gateway.Verdict)
	// Rules gives the rules in their order.
	Rules() []Rule
}

// NewJudge makes the judge of a provider's answers.
func NewJudge(cfg *config.Config, name gateway.ProviderName) (Judge, error) {
	return provider.New(name, provider.Options{BaseURL: cfg.BaseURL(name)})
}
