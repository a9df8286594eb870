package admin

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"ollama-api-pool/internal/controlplane/importer"
	"ollama-api-pool/internal/controlplane/jobs"
	"ollama-api-pool/internal/gateway"
)

const (
	previewLines = 20
	maxRecorded  = 1000 // bad lines that are kept of an import
	maxSource    = 100  // bytes
)

// Imports keeps what was imported. It may be called concurrently.
type Imports interface {
	// RecordImport keeps the outcome of an import. It knows who began it where
	// the job does not say.
	RecordImport(ctx context.Context, j gateway.Job) error
}

// foreseen is what an import's answer has besides if nothing was stored.
type foreseen struct {
	DryRun   bool          `json:"dryRun,omitempty" description:"Nothing was stored: this is what would happen."`
	Repeated *int          `json:"repeated,omitempty" description:"How many of those that exist come twice in the body."`
	Preview  []previewLine `json:"preview,omitempty" description:"How the first lines were read."`
}

// previewLine is how a line was read.
type previewLine struct {
	Line     int    `json:"line"`
	Username string `json:"username"`
	Key      string `json:"key" description:"Masked."`
	Form     string `json:"form" description:"What the line was: bare key, 2 fields, 4 fields, 5 fields, object."`
}

// show keeps one of the first entries for the preview.
func (im *imported) show(e importer.Entry) {
	if !im.dryRun || len(im.preview) >= previewLines {
		return
	}
	form := fmt.Sprintf("%d fields", e.Fields)
	switch e.Fields {
	case 0:
		form = "object"
	case 1:
		form = "bare key"
	}
	im.preview = append(im.preview, previewLine{e.Line, e.Username, gateway.MaskKey(e.Secret), form})
}

func (im *imported) foreseen() foreseen {
	if !im.dryRun {
		return foreseen{}
	}
	return foreseen{DryRun: true, Repeated: &im.repeated, Preview: im.preview}
}

// foresee counts what an import would do.
func (a *API) foresee(s *spool, out *imported) error {
	seen := map[[gateway.KeyIDLen]byte]struct{}{} // of a million keys some 30 MB
	for k, err := range s.keys(time.Time{}) {
		if err != nil {
			return err
		}
		id := gateway.IDOfKey(k.Secret)
		name := [gateway.KeyIDLen]byte([]byte(id))
		_, again := seen[name]
		seen[name] = struct{}{}
		switch {
		case again:
			out.repeated++
			out.existing++
		case a.keys.HasKey(out.provider, id):
			out.existing++
		default:
			out.added++
		}
	}
	return nil
}

// record keeps what an import did. The keys are in the pool already, so a
// fault here is logged and does not make the call fail.
func (a *API) record(r *http.Request, in *inflow, out *imported, began time.Time) {
	now, done := a.opt.Now(), out.lines()
	j := gateway.Job{
		ID: jobs.NewID(), Kind: gateway.JobImport, Provider: out.provider, State: gateway.JobDone,
		Source: sourceOf(r, in.file, done), StartedAt: began, UpdatedAt: now, FinishedAt: now, Total: done, Done: done,
		Counts: map[string]int{"added": out.added, "existing": out.existing, "bad": out.bad},
	}
	for _, b := range out.badLines[:min(len(out.badLines), maxRecorded)] {
		j.Bad = append(j.Bad, gateway.BadKey{Line: b.Line, Reason: b.Reason})
	}
	if err := a.imports.RecordImport(r.Context(), j); err != nil {
		a.opt.Log.LogAttrs(r.Context(), slog.LevelWarn, "an import was not recorded", slog.Any("error", err))
	}
}

// sourceOf says in a few words where keys came from: the name of a file, or
// how many lines were sent without one. It never holds a line that could be an
// account.
func sourceOf(r *http.Request, file string, lines int) string {
	name := file
	if name == "" {
		name = r.Header.Get("X-Import-Source")
		if plain, err := url.PathUnescape(name); err == nil {
			name = plain
		}
	}
	name = path.Base("/" + strings.ReplaceAll(name, `\`, "/"))
	name = strings.TrimSpace(strings.Map(func(c rune) rune {
		if c == utf8.RuneError || !unicode.IsPrint(c) {
			return -1
		}
		return c
	}, name))
	if name == "" || name == "/" || strings.Contains(name, "----") {
		if lines == 1 {
			return "pasted, 1 line"
		}
		return fmt.Sprintf("pasted, %d lines", lines)
	}
	return gateway.Clip(name, maxSource)
}
