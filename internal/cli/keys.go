package cli

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ollama-api-pool/internal/gateway"
)

func (p *program) keysCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "keys",
		Short: "Fill, show, mend and empty the pool of upstream keys",
		Long: `Keys are the credentials of upstream accounts. Requests are spread over them.

These commands work on the instance of DATA_DIR, whether it runs or not, and
with --server on one that runs elsewhere.`,
	}
	p.serverFlag(cmd)
	return group(cmd, p.keysAddCommand(), p.keysImportCommand(), p.keysListCommand(), p.keysShowCommand(), p.keysExportCommand(),
		p.keysEnableCommand(), p.keysDisableCommand(), p.keysDeleteCommand(), p.keysClearRestCommand(), p.keysCheckCommand())
}

// sortable are the orders in which keys can be listed.
var sortable = []string{"username", "created_at", "expires_at", "status", "consecutive_failures", "last_used"}

const standardLimit = 50

// keysList is one call of 'keys list'.
type keysList struct {
	keyFilter
	sort        string
	limit, page int
	json        bool
}

func (p *program) keysListCommand() *cobra.Command {
	var o keysList
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List keys with their state, masked",
		Long: `List shows the keys of a provider with their state: active; resting (its account
is out of quota until a time); failed or disabled (refused by the upstream, or
taken out by hand); expired.`,
		Example: `  ollama-api-pool keys list
  ollama-api-pool keys list --status resting
  ollama-api-pool keys list --status failed --reason '401 unauthorized'
  ollama-api-pool keys list --provider openrouter --sort -last_used --limit 10
  ollama-api-pool keys list --category gpt-oss --page 2
  ollama-api-pool keys list --search alice@example.com --json`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return p.listKeys(cmd, &o) },
	}
	o.flags(cmd)
	f := cmd.Flags()
	f.StringVar(&o.sort, "sort", "created_at", "`order`: "+strings.Join(sortable, ", ")+"; - in front reverses it")
	f.IntVar(&o.limit, "limit", standardLimit, "show this `many` at most, 0 for all")
	f.IntVar(&o.page, "page", 1, "show the `n`th that many")
	jsonFlag(cmd, &o.json)
	return cmd
}

// query checks what was asked for.
func (o *keysList) query() (gateway.ProviderName, gateway.KeyQuery, error) {
	name, f, err := o.read()
	q := gateway.KeyQuery{Status: f.Status, Category: f.Category, Search: f.Search, Reason: f.Reason, Sort: o.sort, Limit: o.limit}
	switch {
	case err != nil:
	case !slices.Contains(sortable, strings.TrimPrefix(o.sort, "-")):
		err = usageError{fmt.Errorf("cannot sort by %q: use %s, with - in front for the reverse", gateway.Clip(o.sort, widestName), strings.Join(sortable, ", "))}
	case o.limit < 0:
		err = usageError{errors.New("--limit must not be below 0")}
	case o.page < 1 || o.page > math.MaxInt32 || o.limit > math.MaxInt32:
		err = usageError{errors.New("--page must be from 1 on")}
	case o.limit == 0 && o.page > 1:
		err = usageError{errors.New("--limit 0 is all keys: there is no other page")}
	}
	q.Offset = (max(o.page, 1) - 1) * max(o.limit, 0)
	return name, q, err
}

// listedKeysJSON is what 'keys list --json' prints.
type listedKeysJSON struct {
	Provider gateway.ProviderName `json:"provider"`
	Keys     []keyRow             `json:"api_keys"`
	Total    int                  `json:"total"`
}

func (p *program) listKeys(cmd *cobra.Command, o *keysList) error {
	name, q, err := o.query()
	if err != nil {
		return err
	}
	var page keyPage
	err = p.operate(cmd.Context(), func(op operator) (err error) {
		page, err = op.Keys(cmd.Context(), name, q)
		return err
	})
	if err != nil {
		return err
	}
	if o.json {
		return p.printJSON(listedKeysJSON{name, append([]keyRow{}, page.Keys...), page.Total})
	}
	if len(page.Keys) == 0 {
		if page.Total > 0 {
			return p.say("There are %s, none on page %d.\n", count(page.Total, "key"), o.page)
		}
		if q.Status != "" || q.Search != "" || q.Category != "" || q.Reason != "" {
			return p.say("No %s key matches.\n", name)
		}
		return p.say("The %s pool is empty. Add keys from a file, one a line:\n\n  %s\n", name, p.importHint(name))
	}
	now := time.Now()
	rows := make([][]string, 0, len(page.Keys))
	for i := range page.Keys {
		rows = append(rows, cellsOfKey(&page.Keys[i], now))
	}
	if err := p.table([]string{"ID", "KEY", "USER", "STATUS", "UNTIL", "FAILURES", "LAST ERROR", "REQUESTS"}, rows); err != nil {
		return err
	}
	switch last := q.Offset + len(page.Keys); {
	case o.page > 1:
		p.remark("%d to %d of %d keys.\n", q.Offset+1, last, page.Total)
	case last < page.Total:
		p.remark("%d of %d keys; --limit 0 shows all.\n", last, page.Total)
	}
	return nil
}

// importHint is a command that adds keys.
func (p *program) importHint(name gateway.ProviderName) string {
	hint := p.name + " keys import FILE"
	if name != gateway.Ollama {
		hint += " --provider " + string(name)
	}
	return hint
}

// cellsOfKey are a key's cells; its failures are those in a row.
func cellsOfKey(k *keyRow, now time.Time) []string {
	until, lastError := "-", ""
	if t, waits := k.until(); waits && t != nil {
		until = ahead(*t, now)
	} else if waits {
		until = "enabled"
	}
	if k.LastError != nil {
		lastError = *k.LastError
	}
	return []string{
		cell(string(k.ID), widestName), cell(k.Masked, widestName), cell(k.Username, widestName), cell(string(k.Status), widestName),
		until, strconv.Itoa(k.ConsecutiveFailures), cell(lastError, widestText), strconv.FormatInt(k.TotalRequests, 10),
	}
}
