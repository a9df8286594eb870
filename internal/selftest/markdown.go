package selftest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Markdown is the report as a page for the summary of a CI job: a heading, a
// table of the steps, and what to do about those that failed.
func (r *Report) Markdown() string {
	var b strings.Builder
	verdict := "passed"
	if !r.OK() {
		verdict = "failed"
	}
	fmt.Fprintf(&b, "## Self-test %s: %s\n\n", verdict, r.Summary())
	fmt.Fprintf(&b, "%s at %s, in %v.", markdown(r.URL), r.StartedAt.Format("2006-01-02 15:04:05 UTC"), r.Took.Round(100*time.Millisecond))
	if r.Version != "" {
		fmt.Fprintf(&b, " Version %s.", markdown(r.Version))
	}
	for _, p := range slices.Sorted(maps.Keys(r.Models)) {
		fmt.Fprintf(&b, " Model of %s: %s.", p, markdown(r.Models[p]))
	}
	b.WriteString("\n\n| step | result | time | what was seen |\n| --- | --- | ---: | --- |\n")
	for i := range r.Steps {
		s := &r.Steps[i]
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", s.Title(), markdownResult[s.Result], Duration(s.Took), markdown(s.text()))
	}
	if r.Count(Failed) > 0 {
		b.WriteString("\n### What to do\n\n")
	}
	for i := range r.Steps {
		if s := &r.Steps[i]; s.Result == Failed {
			fmt.Fprintf(&b, "- **%s**: %s\n", s.Title(), markdown(s.Cure))
		}
	}
	return b.String()
}

var markdownResult = map[Result]string{Passed: "✅ passed", Failed: "❌ **failed**", Skipped: "➖ skipped"}

// Summary says in a few words how many steps ended how.
func (r *Report) Summary() string {
	parts := []string{fmt.Sprintf("%d of %d steps passed", r.Count(Passed), len(r.Steps))}
	for _, of := range []Result{Failed, Skipped} {
		if n := r.Count(of); n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, of))
		}
	}
	return strings.Join(parts, ", ")
}

// Title is the step's name with its provider.
func (s *Step) Title() string {
	if s.Provider == "" {
		return s.Name
	}
	return s.Name + ", " + string(s.Provider)
}

// text is what a step saw, or why it failed or was skipped, with its note.
func (s *Step) text() string {
	text := s.Seen
	if s.Result != Passed {
		text = s.Cause
	}
	if s.Note != "" {
		text += " Note: " + s.Note
	}
	return text
}

// Duration is a time as a report shows it.
func Duration(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}

// markdown makes foreign text plain text in a cell of a table: nothing in it
// becomes a tag, an image, a mention, emphasis or the end of the cell.
func markdown(s string) string { return markdownEscapes.Replace(s) }

var markdownEscapes = strings.NewReplacer(
	"&", "&amp;", "<", "&lt;", ">", "&gt;", "@", "&#64;", "#", "&#35;",
	"|", `\|`, `\`, `\\`, "`", "\\`", "*", `\*`, "_", `\_`, "[", `\[`, "]", `\]`, "!", `\!`, "~", `\~`, "$", `\$`,
)
