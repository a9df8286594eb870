package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"ollama-api-pool/internal/gateway"
)

// keysExport is one call of 'keys export'.
type keysExport struct {
	keyFilter
	format, output string
	reveal, force  bool
}

// exportFormats are the forms in which keys can be exported.
var exportFormats = []string{"txt", "csv", "jsonl"}

func (p *program) keysExportCommand() *cobra.Command {
	var o keysExport
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write keys as lines, as a table or as JSON",
		Long: `Export writes all keys that match: as lines that can be imported again (txt), as a
table with their state and counts (csv), or as JSON, one object a line (jsonl).
Keys are masked unless --reveal is given; the server logs that.`,
		Example: `  ollama-api-pool keys export --format csv -o keys.csv
  ollama-api-pool keys export --reveal -o keys.txt
  ollama-api-pool keys export --status failed --format jsonl
  ollama-api-pool keys export --provider openrouter --category gpt-oss --reveal -o gpt-oss.txt --force`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return p.exportKeys(cmd.Context(), &o) },
	}
	o.flags(cmd)
	f := cmd.Flags()
	f.StringVar(&o.format, "format", "txt", "`form`: "+strings.Join(exportFormats, ", "))
	f.BoolVar(&o.reveal, "reveal", false, "show the keys whole")
	f.StringVarP(&o.output, "output", "o", "-", "write to this `file`, readable by its owner alone; - is the standard output")
	f.BoolVar(&o.force, "force", false, "replace the file if it is there")
	completeFixed(cmd, "format", exportFormats...)
	return cmd
}

func (p *program) exportKeys(ctx context.Context, o *keysExport) error {
	name, filter, err := o.read()
	switch {
	case err != nil:
		return err
	case !slices.Contains(exportFormats, o.format):
		return usageError{fmt.Errorf("unknown form %q: use %s", gateway.Clip(o.format, widestName), strings.Join(exportFormats, ", "))}
	case o.output == "":
		return usageError{errors.New("--output is empty")}
	}
	lines := &lineCount{}
	err = p.operate(ctx, func(op operator) error {
		return p.writeOut(o.output, o.force, func(w io.Writer) error {
			lines.w = w
			if err := op.ExportKeys(ctx, name, filter, o.format, o.reveal, lines); err != nil {
				return err
			}
			if o.keys(lines.n) == 0 {
				return partError{fmt.Errorf("no %s key matches", name)}
			}
			return nil
		})
	})
	if err != nil {
		return err
	}
	if o.output != "-" {
		p.remark("%s written to %s.\n", count(o.keys(lines.n), "key"), o.output)
	}
	if !o.reveal && o.format == "txt" {
		p.remark("The keys are masked: with --reveal they can be imported again.\n")
	}
	return nil
}

// keys is how many keys so many lines are.
func (o *keysExport) keys(lines int) int {
	if o.format == "csv" {
		lines-- // its head
	}
	return lines
}

// lineCount counts the lines that are written.
type lineCount struct {
	w io.Writer
	n int
}

// Write writes.
func (l *lineCount) Write(b []byte) (int, error) {
	n, err := l.w.Write(b)
	for _, c := range b[:n] {
		if c == '\n' {
			l.n++
		}
	}
	return n, err
}
