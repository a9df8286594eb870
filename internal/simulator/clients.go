package simulator

import (
	"fmt"
	"net/netip"
	"time"

	"ollama-api-pool/internal/gateway"
)

// Client is one of the demo's clients. Whoever issues its token sets Token.Hash
// and Secret.
type Client struct {
	Token  gateway.Token // its name, what it is valid for, since when and until when
	Secret gateway.Secret

	share  map[gateway.ProviderName]float64 // of the requests of each provider
	silent time.Duration                    // for so long it has asked nothing
	from   netip.Addr                       // where it was in the past (RFC 5737)
}

// newClients lists the clients. The first one is whoever looks at the demo.
func newClients(now time.Time) []*Client {
	const all, olla, router = "", string(gateway.Ollama), string(gateway.OpenRouter)
	client := func(name, of string, days int, limits gateway.Limits, ollama, openRouter float64) *Client {
		c := &Client{
			Token: gateway.Token{Name: name, CreatedAt: now.AddDate(0, 0, -days).Add(-97 * time.Minute).UTC(), Limits: limits},
			share: map[gateway.ProviderName]float64{gateway.Ollama: ollama, gateway.OpenRouter: openRouter},
			from:  netip.MustParseAddr(fmt.Sprint("192.0.2.", 10+days)),
		}
		for _, p := range gateway.Providers() {
			if of == all || of == string(p) {
				c.Token.Providers = append(c.Token.Providers, p)
			}
		}
		return c
	}
	clients := []*Client{
		client("demo", all, 0, gateway.Limits{}, 0, 0),
		client("web-chat", all, 29, gateway.Limits{RequestsPerMinute: 900, Concurrent: 64}, .604, .64),
		client("research", olla, 28, gateway.Limits{TokensPerDay: 200_000_000}, .39, 0),
		client("batch-jobs", router, 20, gateway.Limits{RequestsPerMinute: 12}, 0, .36),
		client("intern", olla, 9, gateway.Limits{Models: []string{"gpt-oss*", "gemma3*"}, RequestsPerDay: 5000}, .006, 0),
		client("partner", router, 27, gateway.Limits{Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}, 0, .2),
	}
	clients[0].Token.CreatedAt = now.UTC()
	clients[4].Token.ExpiresAt = now.AddDate(0, 0, 5).UTC()
	clients[5].silent = 9 * sceneDay
	return clients
}

// Clients are those of the scene, the first of them without a past.
func (s *Scene) Clients() []*Client { return s.clients }

// agent is how a client introduces itself.
func (c *Client) agent(version string) string {
	return "ollama-api-pool-demo/" + version + " (simulated client " + c.Token.Name + ")"
}
