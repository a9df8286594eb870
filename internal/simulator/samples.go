package simulator

import (
	"fmt"

	"ollama-api-pool/internal/gateway"
)

// Sample is a key of the demo: what a real pool would hold, and its fate here.
type Sample struct {
	Secret   gateway.Secret // obviously fake
	Username string         // the account; several keys may share one
	Fate     Fate
}

// SampleKeys returns the demo's keys of a provider: most work, and there is one
// at least for every fate that the provider knows. Bad ones stand between good
// ones, so that failover shows from the first calls on and never runs out.
func SampleKeys(p gateway.ProviderName) []Sample {
	type owner struct {
		name string
		fate Fate
	}
	owners := []owner{
		{"ada@demo.invalid", FateOK},
		{"ken@demo.invalid", FateRevoked},
		{"ada@demo.invalid", FateOK},
		{"alan@demo.invalid", FateOverQuota},
		{"grace@demo.invalid", FateOK},
		{"john@demo.invalid", FatePlan},
		{"dennis@demo.invalid", FateNoCredit},
		{"edsger@demo.invalid", FateOK},
		{"barbara@demo.invalid", FateOK},
		{"niklaus@demo.invalid", FateFlaky},
		{"grace@demo.invalid", FateOK},
		{"alan@demo.invalid", FateOverQuota},
		{"N/A", FateOK},
		{"tony@demo.invalid", FateOverWeek},
		{"donald@demo.invalid", FateOK},
		{"frances@demo.invalid", FatePlan},
		{"N/A", FateOK},
		{"N/A", FateRevoked},
		{"ada@demo.invalid", FateOK},
		{"", FateOK},
	}
	if p == gateway.OpenRouter {
		owners = []owner{
			{"ada@demo.invalid", FateOK},
			{"ken@demo.invalid", FateRevoked},
			{"grace@demo.invalid", FateOK},
			{"john@demo.invalid", FatePlan},
			{"alan@demo.invalid", FateOverQuota},
			{"ada@demo.invalid", FateOK},
			{"dennis@demo.invalid", FateNoCredit},
			{"N/A", FateOK},
		}
	}
	out := make([]Sample, len(owners))
	for i, o := range owners {
		out[i] = Sample{
			Secret:   gateway.Secret(fmt.Sprintf("demo-%s-%012d", p, i+1)),
			Username: o.name,
			Fate:     o.fate,
		}
	}
	return out
}

// SampleFates returns the fates of all sample keys, fit for Options.
func SampleFates() map[string]Fate {
	out := map[string]Fate{}
	for _, p := range gateway.Providers() {
		for _, s := range SampleKeys(p) {
			out[s.Secret.Reveal()] = s.Fate
		}
	}
	return out
}
