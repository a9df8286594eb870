package simulator

import (
	"net/http"
	"strings"

	"ollama-api-pool/internal/gateway"
)

// routerModel is an entry of OpenRouter's list
// (https://openrouter.ai/docs/models).
type routerModel struct {
	ID            string `json:"id"`
	CanonicalSlug string `json:"canonical_slug"`
	Name          string `json:"name"`
	Created       int64  `json:"created"`
	Description   string `json:"description"`
	ContextLength int    `json:"context_length"`
	Architecture  struct {
		Modality         string   `json:"modality"`
		InputModalities  []string `json:"input_modalities"`
		OutputModalities []string `json:"output_modalities"`
		Tokenizer        string   `json:"tokenizer"`
		InstructType     *string  `json:"instruct_type"`
	} `json:"architecture"`
	Pricing struct {
		Prompt     string `json:"prompt"`
		Completion string `json:"completion"`
		Request    string `json:"request"`
		Image      string `json:"image"`
	} `json:"pricing"`
	TopProvider struct {
		ContextLength       int  `json:"context_length"`
		MaxCompletionTokens *int `json:"max_completion_tokens"`
		IsModerated         bool `json:"is_moderated"`
	} `json:"top_provider"`
	PerRequestLimits    *struct{} `json:"per_request_limits"`
	SupportedParameters []string  `json:"supported_parameters"`
}

// openRouterModels lists the models, to anybody.
func openRouterModels(c *call) {
	list := []routerModel{}
	for _, m := range c.listed() {
		slug, _, _ := strings.Cut(m.id, ":")
		e := routerModel{
			ID: m.id, CanonicalSlug: slug, Name: m.title, Created: m.addedAt.Unix(), ContextLength: m.context,
			Description:         "Simulated: no language model stands behind this entry.",
			SupportedParameters: []string{"max_tokens", "stop", "temperature", "top_p"},
		}
		e.Architecture.Modality = "text->text"
		e.Architecture.InputModalities, e.Architecture.OutputModalities = []string{"text"}, []string{"text"}
		e.Architecture.Tokenizer = m.family
		e.Pricing.Prompt, e.Pricing.Completion, e.Pricing.Request, e.Pricing.Image = "0", "0", "0", "0"
		if m.extra {
			e.Pricing.Prompt, e.Pricing.Completion = "0.0000002", "0.0000008"
		}
		if m.embeds {
			e.Architecture.Modality, e.Architecture.OutputModalities = "text->embeddings", []string{"embeddings"}
		}
		e.TopProvider.ContextLength = m.context
		list = append(list, e)
	}
	c.json(http.StatusOK, map[string][]routerModel{"data": list})
}

// keyInfo is what OpenRouter tells of the key that asks
// (https://openrouter.ai/docs/api-reference/limits).
type keyInfo struct {
	Label             string   `json:"label"`
	Limit             *float64 `json:"limit"`
	LimitReset        *string  `json:"limit_reset"`
	LimitRemaining    *float64 `json:"limit_remaining"`
	IncludeBYOK       bool     `json:"include_byok_in_limit"`
	Usage             float64  `json:"usage"`
	UsageDaily        float64  `json:"usage_daily"`
	UsageWeekly       float64  `json:"usage_weekly"`
	UsageMonthly      float64  `json:"usage_monthly"`
	BYOKUsage         float64  `json:"byok_usage"`
	IsFreeTier        bool     `json:"is_free_tier"`
	IsManagementKey   bool     `json:"is_management_key"`
	IsProvisioningKey bool     `json:"is_provisioning_key"`
	RateLimit         struct {
		Requests int    `json:"requests"`
		Interval string `json:"interval"`
		Note     string `json:"note"`
	} `json:"rate_limit"`
}

func openRouterKey(c *call) {
	if !c.authorized() {
		return
	}
	info := keyInfo{Label: gateway.MaskKey(gateway.Secret(c.key)), Usage: 1.25, UsageDaily: 0.05, UsageWeekly: 0.25, UsageMonthly: 1.25}
	info.RateLimit.Requests, info.RateLimit.Interval = -1, "10s"
	info.RateLimit.Note = "This field is deprecated and safe to ignore."
	switch c.fate(c.key) {
	case FateOverQuota, FateOverWeek:
		info.IsFreeTier = true
	case FatePlan:
		limit, left, reset := 1.0, 0.0, "daily"
		info.Limit, info.LimitRemaining, info.LimitReset = &limit, &left, &reset
	}
	c.json(http.StatusOK, map[string]keyInfo{"data": info})
}
