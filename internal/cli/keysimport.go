package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"ollama-api-pool/internal/controlplane/importer"
	"ollama-api-pool/internal/gateway"
)

// keysImport is one call of 'keys import'.
type keysImport struct {
	provider          string
	validate, unclear bool
	dryRun, json      bool
}

func (p *program) keysImportCommand() *cobra.Command {
	var o keysImport
	cmd := &cobra.Command{
		Use:   "import FILE|-",
		Short: "Add keys from a file or from the standard input",
		Long: `Import reads one account a line, in any of these forms:

  api_key
  user----api_key
  email----password----session----api_key

or a JSON list, by itself or under "keys" or "accounts", of such texts or of
objects with "api_key" and "username" or "email".

Only the user name and the key are taken: passwords and sessions are dropped
while they are read, and never stored or sent. Blank lines and # comments are
passed over. Bad lines are told by number and reason and do not stop the rest; the exit
code is 3 then. If the import breaks off, none of its keys is added.

With --validate the upstream is asked about each new key first, which costs no
tokens, and only the good ones are added.`,
		Example: `  ollama-api-pool keys import keys.txt
  ollama-api-pool keys import keys.txt --dry-run
  ollama-api-pool keys import keys.txt --validate
  ollama-api-pool keys import accounts.json --provider openrouter
  echo "$KEY" | ollama-api-pool keys import -
  ADMIN_TOKEN=... ollama-api-pool keys import keys.txt --server https://pool.example.com`,
		Args: oneArg("FILE (or - for the standard input)"),
		RunE: func(cmd *cobra.Command, args []string) error { return p.importKeys(cmd.Context(), args[0], &o) },
	}
	providerFlag(cmd, &o.provider)
	f := cmd.Flags()
	f.BoolVar(&o.dryRun, "dry-run", false, "say what would be done and change nothing")
	f.BoolVar(&o.validate, "validate", false, "check each new key upstream and add only those that are good")
	f.BoolVar(&o.unclear, "include-inconclusive", false, "with --validate: add also those of which the upstream does not say")
	jsonFlag(cmd, &o.json)
	return cmd
}

func (p *program) importKeys(ctx context.Context, file string, o *keysImport) error {
	name, err := parseProvider(o.provider)
	if err != nil {
		return err
	}
	if o.unclear && !o.validate {
		return usageError{errors.New("--include-inconclusive goes with --validate")}
	}
	src, err := p.openImport(ctx, file)
	if err != nil {
		return interrupted(ctx, err)
	}
	defer func() { _ = src.Close() }()
	shown := p.progress()
	defer shown.end()
	t := &tally{Provider: name, DryRun: o.dryRun, numbered: o.validate}
	keys := t.keys(src, func() {
		shown.show(func() string { return t.line(src) })
	})
	in := &newKeys{provider: name, source: sourceName(file), keys: keys, unclear: o.unclear, dryRun: o.dryRun}
	if o.validate && !o.dryRun {
		return p.importGood(ctx, t, in, o, shown)
	}
	t.Added, t.Existing, err = p.importAll(ctx, in)
	shown.end()
	if err != nil {
		return interrupted(ctx, err)
	}
	return p.reportImport(t, o.json)
}

// sourceName is what an import is called in the list of jobs.
func sourceName(file string) string {
	if file == "-" {
		return "standard input"
	}
	return filepath.Base(file)
}

// interrupted puts the end of an import that the operator broke off into words.
func interrupted(ctx context.Context, err error) error {
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		return errors.New("interrupted: nothing was added")
	}
	return err
}

// importAll adds keys, or says what it would add. For that no store is made
// where there is none.
func (p *program) importAll(ctx context.Context, in *newKeys) (added, existing int, err error) {
	if in.dryRun {
		if there, err := p.thereIs(); err != nil || !there {
			return countNew(in.keys, err)
		}
	}
	err = p.operateOrMake(ctx, func(op operator) (err error) {
		added, existing, err = op.AddKeys(ctx, in)
		return err
	})
	return added, existing, err
}

// countNew counts keys for a pool that holds none.
func countNew(keys iter.Seq2[gateway.Key, error], err error) (added, existing int, _ error) {
	if err != nil {
		return 0, 0, err
	}
	known := map[gateway.KeyID]bool{}
	for k, err := range keys {
		if err != nil {
			return 0, 0, err
		}
		id := gateway.IDOfKey(k.Secret)
		if known[id] {
			existing++
			continue
		}
		known[id] = true
		added++
	}
	return added, existing, nil
}

// reportImport prints what an import did. With nothing usable it is an error.
func (p *program) reportImport(t *tally, asJSON bool) error {
	if asJSON {
		if err := p.printJSON(t); err != nil {
			return err
		}
	} else if err := p.say("%s\n", t.summary()); err != nil {
		return err
	}
	if !asJSON {
		p.remarkBad(t)
	}
	return t.verdict(0)
}

// remarkBad tells the first bad lines.
func (p *program) remarkBad(t *tally) {
	if t.BadCount == 0 {
		return
	}
	p.remark("Bad lines, by number:\n")
	for _, b := range t.Bad {
		p.remark("  %d: %s\n", b.Line, b.Reason)
	}
	if more := t.BadCount - len(t.Bad); more > 0 {
		p.remark("  and %d more\n", more)
	}
}

// verdict is the error of an import of which not all could be used: bad lines,
// and keys that the upstream did not accept.
func (t *tally) verdict(refused int) error {
	switch {
	case t.Added+t.Existing == 0 && t.BadCount+refused > 0:
		return errors.New("none of it can be used")
	case t.Added+t.Existing == 0:
		return errors.New("there is no key in it")
	case t.BadCount+refused > 0:
		return partError{fmt.Errorf("not all of it could be used: %d of %d", t.BadCount+refused, t.BadCount+refused+t.Added+t.Existing)}
	}
	return nil
}

// importSource is a text that is being read.
type importSource struct {
	*bufio.Reader
	file io.Closer
	read int64 // bytes so far
	size int64 // of all of it, 0 if that is not known
	json bool
}

// Close closes the file.
func (s *importSource) Close() error { return s.file.Close() }

// importBuffer is how much is read at once.
const importBuffer = 256 << 10

// openImport opens a file, or the standard input for -.
func (p *program) openImport(ctx context.Context, file string) (*importSource, error) {
	s := &importSource{}
	var in io.Reader
	if file == "-" {
		if p.watched(p.In) {
			p.remark("Reading keys, one a line. Ctrl-D ends (on Windows Ctrl-Z and Enter).\n")
		}
		pipe := interruptible(ctx, p.In)
		in, s.file = pipe, pipe
	} else {
		f, err := os.Open(file) //nolint:gosec // the operator's own file
		if err != nil {
			return nil, err
		}
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
			s.size = info.Size()
		}
		in, s.file = f, f
	}
	s.Reader = bufio.NewReaderSize(&counting{in, &s.read}, importBuffer)
	var err error
	if s.json, err = importer.IsJSON(s.Reader); err != nil {
		_ = s.file.Close()
		return nil, fmt.Errorf("read the import: %w", err)
	}
	return s, nil
}

// interruptible reads from in until the context ends, even where in never
// gives anything, like a terminal.
func interruptible(ctx context.Context, in io.Reader) *io.PipeReader {
	r, w := io.Pipe()
	context.AfterFunc(ctx, func() { _ = w.CloseWithError(ctx.Err()) })
	go func() { // ends with in, at its next piece after the end of r, or with the process
		_, err := io.Copy(w, in)
		_ = w.CloseWithError(err)
	}()
	return r
}

// counting counts what is read.
type counting struct {
	r io.Reader
	n *int64
}

// Read reads.
func (c *counting) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	*c.n += int64(n)
	return n, err
}

// worstShown is how many bad lines are told.
const worstShown = 20

// tally is what an import came to, and how 'keys import --json' prints it.
type tally struct {
	Provider gateway.ProviderName `json:"provider"`
	DryRun   bool                 `json:"dry_run"`
	Added    int                  `json:"added"`
	Existing int                  `json:"existing"`
	BadCount int                  `json:"invalid_total"`
	Bad      []badLine            `json:"invalid"` // the first of them

	found    int  // keys so far
	numbered bool // remember their lines
	lines    []int32
}

type badLine struct {
	Line   int    `json:"line"` // of a JSON list the element
	Reason string `json:"reason"`
}

// keys reads the keys of a source and counts what is bad. step is called with
// every item.
func (t *tally) keys(src *importSource, step func()) iter.Seq2[gateway.Key, error] {
	t.Bad = []badLine{} // encoded as an empty list
	items := importer.Lines(src, 0)
	if src.json {
		items = importer.JSON(src)
	}
	return func(yield func(gateway.Key, error) bool) {
		now := time.Now().UTC()
		for item, err := range items {
			if err != nil {
				yield(gateway.Key{}, err)
				return
			}
			switch item := item.(type) {
			case importer.BadLine:
				t.BadCount++
				if len(t.Bad) < worstShown {
					t.Bad = append(t.Bad, badLine{item.Line, item.Reason})
				}
			case importer.Entry:
				t.found++
				if t.numbered {
					t.lines = append(t.lines, int32(min(item.Line, math.MaxInt32))) //nolint:gosec // bounded
				}
				if !yield(gateway.Key{Secret: item.Secret, Username: item.Username, CreatedAt: now}, nil) {
					return
				}
			}
			step()
		}
	}
}

// line is the progress of an import.
func (t *tally) line(src *importSource) string {
	line := fmt.Sprintf("%d keys, %s", t.found, mebibytes(src.read))
	if src.size > 0 {
		line += " of " + mebibytes(src.size)
	}
	return line
}

func (t *tally) summary() string {
	added := "added"
	if t.DryRun {
		added = "to be added"
	}
	return fmt.Sprintf("%d %s, %d already there, %s", t.Added, added, t.Existing, count(t.BadCount, "bad line"))
}
