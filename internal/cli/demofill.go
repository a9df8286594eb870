package cli

import (
	"context"
	"fmt"
	"iter"
	"strings"

	"ollama-api-pool/internal/app"
	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/simulator"
)

// fillDemo issues the clients their tokens and fills the pool: with keys that have
// a past, or with the same ones as if they were new.
func fillDemo(ctx context.Context, r *app.Roster, scene *simulator.Scene, withPast bool) error {
	for _, c := range scene.Clients() {
		issued, secret, err := r.IssueToken(ctx, c.Token)
		if err != nil {
			return err
		}
		c.Token.Hash, c.Secret = issued.Hash, secret
	}
	var past simulator.Past
	if withPast {
		past = scene.Past()
	}
	for _, name := range gateway.Providers() {
		keys := past.Keys[name]
		if !withPast {
			keys = scene.NewKeys(name)
		}
		if _, _, err := r.AddKeys(ctx, name, each(keys)); err != nil {
			return err
		}
	}
	return r.AddPast(ctx, past.Deltas, past.Jobs)
}

// each yields a list without errors.
func each[T any](list []T) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for i := range list {
			if !yield(list[i], nil) {
				return
			}
		}
	}
}

// greetDemo says where things are and what to try. The admin token is shown, as
// it opens nothing but this demo, and goes with it.
func (p *program) greetDemo(a *app.App, o *demoOptions, dir string, admin, token gateway.Secret) {
	url, tok := a.URL(), token.Reveal()
	var b strings.Builder
	fmt.Fprintf(&b, "ollama-api-pool %s, demo: a simulated upstream, nothing leaves this machine\n\n", Version())
	fmt.Fprintf(&b, "  listening on  %s\n", url)
	for _, name := range gateway.Providers() {
		fmt.Fprintf(&b, "  keys          %s\n", standing(name, a.Roster().CountKeys(name)))
	}
	fmt.Fprintf(&b, "  client token  %s\n  admin token   %s (for this run only)\n  data          %s\n", tok, admin.Reveal(), dir)
	fmt.Fprintf(&b, "\nThe dashboard: open %s/ and log in with the admin token.\nThe public figures: %[1]s/stats\n", url)
	if o.traffic {
		b.WriteString("Simulated clients keep asking; --traffic=false leaves them out.\n")
	}
	fmt.Fprintf(&b, `
Try it in another terminal. Each call gets the next key; those that are
refused are passed over and marked, and you get your answer all the same.

  # a chat
  curl %[1]s/v1/chat/completions -H 'Authorization: Bearer %[2]s' \
    -H 'Content-Type: application/json' \
    -d '{"model":"gpt-oss:20b","messages":[{"role":"user","content":"Hello"}]}'

  # the same, streamed word by word
  curl -N %[1]s/v1/chat/completions -H 'Authorization: Bearer %[2]s' \
    -H 'Content-Type: application/json' \
    -d '{"model":"gpt-oss:20b","stream":true,"messages":[{"role":"user","content":"Hello"}]}'

  # the models
  curl %[1]s/v1/models

  # what has become of the keys
  curl %[1]s/admin/api-keys -H "Authorization: Bearer $(cat %[3]s)"

Ctrl-C stops and removes all of it.
`, url, tok, shellWord(app.AdminTokenPath(dir)))
	_, _ = fmt.Fprint(p.Out, b.String())
}

// standing says how many keys a provider has, and how they stand.
func standing(name gateway.ProviderName, counts map[gateway.KeyStatus]int) string {
	total, parts := 0, []string{}
	for _, status := range gateway.KeyStatuses() {
		if n := counts[status]; n > 0 {
			total += n
			parts = append(parts, fmt.Sprintf("%d %s", n, status))
		}
	}
	return fmt.Sprintf("%d for %s: %s", total, name, strings.Join(parts, ", "))
}
