package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"ollama-api-pool/internal/gateway"
)

// keyFilter is what commands choose keys by.
type keyFilter struct{ provider, status, category, search, reason string }

func (f *keyFilter) flags(cmd *cobra.Command) {
	providerFlag(cmd, &f.provider)
	cmd.Flags().StringVar(&f.status, "status", "", "only keys in this `state`: active, resting, failed, disabled, expired")
	cmd.Flags().StringVar(&f.category, "category", "", "only keys of this model `family`, such as gpt-oss")
	cmd.Flags().StringVar(&f.search, "search", "", "only keys with this `text` in the user name, or that are this key, id or category")
	cmd.Flags().StringVar(&f.reason, "reason", "", "only keys with exactly this `text` as their last error")
	completeStatus(cmd)
}

// read checks what was given.
func (f *keyFilter) read() (gateway.ProviderName, gateway.KeyFilter, error) {
	want := gateway.KeyFilter{Category: strings.TrimSpace(f.category), Search: strings.TrimSpace(f.search), Reason: strings.TrimSpace(f.reason)}
	name, err := parseProvider(f.provider)
	if err != nil {
		return name, want, err
	}
	if f.status != "" && f.status != "all" {
		if want.Status = gateway.KeyStatus(f.status); !slices.Contains(gateway.KeyStatuses(), want.Status) {
			return name, want, usageError{fmt.Errorf("unknown state %q: use all, active, resting, failed, disabled or expired", gateway.Clip(f.status, widestName))}
		}
	}
	return name, want, nil
}

// keyChoice says which keys a command is to change: those that are named, those
// that a filter finds, or all.
type keyChoice struct {
	keyFilter
	all, dryRun, yes, json bool
}

const chooseHelp = `Keys are named by their id ('keys list' shows it) or by themselves; - reads such
names from the standard input, one a line. Or they are chosen by what they are,
with --status, --category, --search and --reason, or all with --all.`

func (c *keyChoice) flags(cmd *cobra.Command) {
	c.keyFilter.flags(cmd)
	cmd.Flags().BoolVar(&c.all, "all", false, "all keys of the provider")
	cmd.Flags().BoolVar(&c.dryRun, "dry-run", false, "say how many keys it would be and change nothing")
	cmd.Flags().BoolVarP(&c.yes, "yes", "y", false, "do not ask")
	jsonFlag(cmd, &c.json)
}

// keySet are the keys that a command is about: named, or chosen by a filter.
type keySet struct {
	provider gateway.ProviderName
	refs     []string // ids, or keys as they were typed
	filter   *gateway.KeyFilter
	expect   int // with a filter: how many it must choose, else nothing is changed
}

// check refuses what is not clear, before anybody is asked. filtered says that
// the keys are chosen by what they are.
func (c *keyChoice) check(cmd *cobra.Command, args []string) (filtered bool, err error) {
	given := cmd.Flags().Changed
	filtered = given("status") || given("category") || given("search") || given("reason")
	see := "\nSee '" + cmd.CommandPath() + " --help'"
	switch {
	case len(args) > 0 && (filtered || c.all):
		return false, usageError{errors.New("name the keys or choose them with flags, not both" + see)}
	case c.all && filtered:
		return false, usageError{errors.New("--all and a filter are both there" + see)}
	case len(args) == 0 && !filtered && !c.all:
		return false, usageError{errors.New("which keys? Give their ids, or --status, --category, --search or --reason, or --all" + see)}
	case slices.Contains(args, "-") && len(args) > 1:
		return false, usageError{errors.New("- stands alone" + see)}
	}
	_, want, err := c.read()
	if err == nil && filtered && want == (gateway.KeyFilter{}) {
		err = usageError{errors.New("the filter is empty: for all keys say --all" + see)}
	}
	return filtered || c.all, err
}

// choose reads which keys are meant.
func (p *program) choose(ctx context.Context, c *keyChoice, args []string, filtered bool) (keySet, error) {
	name, want, err := c.read()
	set := keySet{provider: name}
	switch {
	case err != nil:
		return set, err
	case filtered:
		set.filter = &want
		return set, nil
	case args[0] == "-":
		if set.refs, err = p.readNames(ctx); err != nil {
			return set, err
		}
		if len(set.refs) == 0 {
			err = partError{errors.New("no key is named on the standard input")}
		}
		return set, err
	}
	for _, ref := range args {
		if ref = strings.TrimSpace(ref); ref == "" {
			return set, usageError{errors.New("an ID is empty")}
		}
		if !slices.Contains(set.refs, ref) {
			set.refs = append(set.refs, ref)
		}
	}
	return set, nil
}

// readNames reads names of keys, one a line.
func (p *program) readNames(ctx context.Context) (names []string, err error) {
	in := interruptible(ctx, p.In)
	defer func() { _ = in.Close() }()
	seen := map[string]bool{}
	lines := bufio.NewScanner(in) // of names of at most 512 characters
	for lines.Scan() {
		name := strings.TrimSpace(lines.Text())
		if name == "" || strings.HasPrefix(name, "#") || seen[name] {
			continue
		}
		seen[name] = true
		names = append(names, name)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read the names of keys: %w", err)
	}
	return names, nil
}

// manyKeys is the number of keys above which it is typed to agree.
const manyKeys = 100

// confirm asks whether something is to be done to n keys.
func (p *program) confirm(ctx context.Context, yes bool, n int, what string) error {
	if yes {
		return nil
	}
	if !p.watched(p.In) || !p.watched(p.Err) {
		return usageError{fmt.Errorf("%s: say --yes where nobody can be asked (--dry-run shows what it would be)", what)}
	}
	want, how := []string{"y", "yes"}, "[y/N]"
	if n > manyKeys {
		want, how = []string{strconv.Itoa(n)}, "Type "+strconv.Itoa(n)+" to go on:"
	}
	p.remark("%s? %s ", what, how)
	in := interruptible(ctx, p.In)
	defer func() { _ = in.Close() }()
	line, err := bufio.NewReader(in).ReadString('\n')
	if ctx.Err() != nil {
		return errors.New("interrupted: nothing was changed")
	}
	if err != nil && line == "" || !slices.Contains(want, strings.ToLower(strings.TrimSpace(line))) {
		return errors.New("nothing was changed")
	}
	return nil
}
