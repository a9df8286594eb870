package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ollama-api-pool/internal/gateway"
)

// keysAdd is one call of 'keys add'.
type keysAdd struct {
	provider, username, ttl string
	json                    bool
}

func (p *program) keysAddCommand() *cobra.Command {
	var o keysAdd
	cmd := &cobra.Command{
		Use:   "add KEY|-",
		Short: "Add one key",
		Long: `Add puts one key into the pool. With - it is read from the standard input, and so
stays out of the shell's history and of the list of processes: better than to
type it. 'keys import' adds many.`,
		Example: `  ollama-api-pool keys add -
  ollama-api-pool keys add - --username alice@example.com < key.txt
  echo "$KEY" | ollama-api-pool keys add - --provider openrouter --ttl 30d`,
		Args: oneArg("KEY (or - for the standard input)"),
		RunE: func(cmd *cobra.Command, args []string) error { return p.addKey(cmd.Context(), args[0], &o) },
	}
	providerFlag(cmd, &o.provider)
	cmd.Flags().StringVar(&o.username, "username", "", "`name` of the account: keys of one name share its quota")
	cmd.Flags().StringVar(&o.ttl, "ttl", "", "`time` after which it expires, such as 720h or 30d (default: never)")
	jsonFlag(cmd, &o.json)
	return cmd
}

// newKey is a key that is to be added.
type newKey struct {
	secret   gateway.Secret
	username string
	ttl      time.Duration // 0: for ever
}

// addedKeyJSON is what 'keys add --json' prints.
type addedKeyJSON struct {
	ID    gateway.KeyID `json:"id"`
	Added bool          `json:"added"` // else it was there already
}

func (p *program) addKey(ctx context.Context, key string, o *keysAdd) error {
	name, err := parseProvider(o.provider)
	if err != nil {
		return err
	}
	k := newKey{secret: gateway.Secret(key), username: o.username}
	if k.ttl, err = parseLifetime(o.ttl); err != nil {
		return usageError{fmt.Errorf("--ttl %w", err)}
	}
	if key == "-" {
		if k.secret, err = p.readKey(ctx); err != nil {
			return interrupted(ctx, err)
		}
	}
	var added bool
	var id gateway.KeyID
	err = p.operateOrMake(ctx, func(op operator) (err error) {
		id, added, err = op.AddKey(ctx, name, k)
		return err
	})
	switch {
	case err != nil:
		return err
	case o.json:
		return p.printJSON(addedKeyJSON{id, added})
	case added:
		return p.say("Key %s is added.\n", id)
	}
	return p.say("Key %s is there already and stays as it is.\n", id)
}

// longestInput is how much is read in search of one key, in bytes.
const longestInput = 8 << 10

// readKey reads one key from the standard input: of a terminal one line, else
// the only line that there is.
func (p *program) readKey(ctx context.Context) (gateway.Secret, error) {
	in := interruptible(ctx, p.In)
	defer func() { _ = in.Close() }()
	var text string
	var err error
	if p.watched(p.In) {
		p.remark("Paste the key and press Enter:\n")
		text, err = bufio.NewReader(io.LimitReader(in, longestInput)).ReadString('\n')
	} else {
		var all []byte
		all, err = io.ReadAll(io.LimitReader(in, longestInput))
		text = string(all)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read the key: %w", err)
	}
	var lines []string
	for line := range strings.Lines(strings.TrimPrefix(text, "\ufeff")) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	switch len(lines) {
	case 0:
		return "", errors.New("there is no key on the standard input")
	case 1:
		return gateway.Secret(lines[0]), nil
	}
	return "", errors.New("there is more than one line: 'keys import -' adds many keys")
}
