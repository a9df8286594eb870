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
// at least for every fate that the provider knows.
func SampleKeys(p gateway.ProviderName) []Sample {
	type owner struct {
		name string
		fate Fate
	}
	owners := []owner{
		{"ada@demo.invalid", FateOK},
		{"ada@demo.invalid", FateOK},
		{"ada@demo.invalid", FateOK},
		{"grace@demo.invalid", FateOK},
		{"grace@demo.invalid", FateOK},
		{"edsger@demo.invalid", FateOK},
		{"barbara@demo.invalid", FateOK},
		{"donald@demo.invalid", FateOK},
		{"N/A", FateOK},
		{"N/A", FateOK},
		{"", FateOK},
		{"john@demo.invalid", FatePlan},
		{"frances@demo.invalid", FatePlan},
		{"alan@demo.invalid", FateOverQuota},
		{"alan@demo.invalid", FateOverQuota},
		{"tony@demo.invalid", FateOverWeek},
		{"niklaus@demo.invalid", FateFlaky},
		{"dennis@demo.invalid", FateNoCredit},
		{"ken@demo.invalid", FateRevoked},
		{"N/A", FateRevoked},
	}
	if p == gateway.OpenRouter {
		owners = []owner{
			{"ada@demo.invalid", FateOK},
			{"ada@demo.invalid", FateOK},
			{"grace@demo.invalid", FateOK},
			{"N/A", FateOK},
			{"john@demo.invalid", FatePlan},
			{"alan@demo.invalid", FateOverQuota},
			{"dennis@demo.invalid", FateNoCredit},
			{"ken@demo.invalid", FateRevoked},
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
