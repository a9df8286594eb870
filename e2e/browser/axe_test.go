package browser

import (
	_ "embed"
	"fmt"
	"strings"
)

//go:embed testdata/axe.min.js
var axe string

// violation is a fault that axe found.
type violation struct {
	ID, Impact, Help string
	Nodes            []struct {
		Target  []any
		HTML    string
		Summary string
	}
}

// Axe looks at the page with axe-core, by the rules of WCAG 2.1 A and AA, and
// fails the test over what it calls serious or critical.
func (p *Page) Axe() {
	p.t.Helper()
	for _, v := range p.axe() {
		if v.Impact != "serious" && v.Impact != "critical" {
			continue
		}
		var b strings.Builder
		for _, n := range v.Nodes {
			fmt.Fprintf(&b, "\n  %v\n    %s\n    %s", n.Target, shortened(n.HTML), strings.ReplaceAll(n.Summary, "\n", "\n    "))
		}
		p.t.Errorf("axe at %s, %s: %s (%s): %s%s", p.URL(), p.view, v.ID, v.Impact, v.Help, b.String())
	}
}

func (p *Page) axe() []violation {
	p.t.Helper()
	if Eval[string](p, "typeof window.axe") != "object" {
		Eval[any](p, axe+";0")
	}
	return Eval[[]violation](p, `axe.run(document, {
		runOnly: {type: "tag", values: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]}, resultTypes: ["violations"], elementRef: false,
	}).then(r => r.violations.map(v => ({ID: v.id, Impact: v.impact, Help: v.help + " " + v.helpUrl,
		Nodes: v.nodes.slice(0, 5).map(n => ({Target: n.target, HTML: n.html, Summary: n.failureSummary}))})))`)
}
