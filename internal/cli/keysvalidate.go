package cli

import (
	"context"
	"errors"
	"time"

	"ollama-api-pool/internal/gateway"
)

// goodKeys is what an import that checks its keys came to, as the admin API
// tells it.
type goodKeys struct {
	Valid        []goodKey      `json:"valid"`
	Invalid      []triedKey     `json:"invalid"`
	Inconclusive []triedKey     `json:"inconclusive"`
	Added        int            `json:"added"`
	Existing     int            `json:"existing"`
	Categories   map[string]int `json:"categories"`
	Job          string         `json:"job"`
}

type goodKey struct {
	ID       gateway.KeyID `json:"id"`
	Masked   string        `json:"key"`
	Category string        `json:"category"`
	Model    string        `json:"model"`
	AddedAt  *time.Time    `json:"addedAt"`
}

// triedKey is a key that was not found to be good.
type triedKey struct {
	Line   int    `json:"line"`
	Masked string `json:"key"`
	Error  string `json:"error"`
}

// validatedJSON is what 'keys import --validate --json' prints.
type validatedJSON struct {
	tally
	Valid      []goodKey      `json:"valid"`
	Refused    []triedKey     `json:"refused"`
	Unclear    []triedKey     `json:"inconclusive"`
	Categories map[string]int `json:"categories"`
	Job        string         `json:"job"`
}

// importGood adds those keys that the upstream accepts.
func (p *program) importGood(ctx context.Context, t *tally, in *newKeys, o *keysImport, shown *progress) error {
	goesOn := false // the server has all keys and checks them, whoever watches
	var result goodKeys
	err := p.operateOrMake(ctx, func(op operator) (err error) {
		result, err = op.AddGoodKeys(ctx, in, func(s step) {
			goesOn = op.Runs()
			shown.show(s.line)
		})
		return err
	})
	shown.end()
	switch {
	case err != nil && ctx.Err() != nil && goesOn:
		return errors.New("interrupted: the import goes on; 'jobs list' shows it, 'jobs cancel' ends it")
	case err != nil && ctx.Err() != nil:
		return errors.New("interrupted: nothing was added")
	case err != nil:
		return err
	}
	t.Added, t.Existing = result.Added, result.Existing
	out := validatedJSON{
		tally: *t, Valid: append([]goodKey{}, result.Valid...), Refused: t.inFile(result.Invalid), Unclear: t.inFile(result.Inconclusive),
		Categories: result.Categories, Job: result.Job,
	}
	if o.json {
		err = p.printJSON(out)
	} else {
		err = p.sayGood(&out)
	}
	if err != nil {
		return err
	}
	failed := len(out.Refused)
	if !o.unclear {
		failed += len(out.Unclear)
	}
	return t.verdict(failed)
}

// inFile gives keys the lines from which they were read here: the server knows
// only in which order they came.
func (t *tally) inFile(keys []triedKey) []triedKey {
	out := make([]triedKey, 0, len(keys))
	for _, k := range keys {
		if k.Line >= 1 && k.Line <= len(t.lines) {
			k.Line = int(t.lines[k.Line-1])
		}
		out = append(out, k)
	}
	return out
}

func (p *program) sayGood(out *validatedJSON) error {
	err := p.say("%d added, %d already there, %d refused, %d unclear, %s\n",
		out.Added, out.Existing, len(out.Refused), len(out.Unclear), count(out.BadCount, "bad line"))
	if families := counts(out.Categories); err == nil && families != "" {
		err = p.say("Families: %s\n", families)
	}
	for _, list := range []struct {
		head string
		keys []triedKey
	}{{"Refused, by line:", out.Refused}, {"Unclear, by line:", out.Unclear}} {
		if len(list.keys) == 0 {
			continue
		}
		p.remark("%s\n", list.head)
		for _, k := range list.keys[:min(len(list.keys), worstShown)] {
			p.remark("  %d: %s %s\n", k.Line, cell(k.Masked, widestName), printable(k.Error))
		}
		if more := len(list.keys) - worstShown; more > 0 {
			p.remark("  and %d more\n", more)
		}
	}
	p.remarkBad(&out.tally)
	return err
}
