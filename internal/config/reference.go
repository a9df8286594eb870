package config

import (
	"fmt"
	"strings"
)

const referenceHead = `# Configuration

<!-- Generated from the option table in internal/config: go test ./internal/config -update -->

Every setting is a name and a value. It is taken from the environment, else from the TOML file
given with ` + "`--config FILE`" + `, else its default applies.

In the file a setting stands at the top level or under ` + "`[vars]`" + `, so that an existing
` + "`wrangler.toml`" + ` can be given as it is; where it stands in both places, ` + "`[vars]`" + ` counts.
Everything else in the file is left alone, also ` + "`[env.…]`" + ` sections; a name in capitals that is
no setting is a warning. Values are texts, numbers or switches; lists may also be arrays of texts.

- **Durations** are written ` + "`300s`, `1h`, `500ms`" + ` or as a bare number of seconds.
- **Sizes** are written in bytes or as ` + "`32MiB`, `256MB`, `1GiB`; `32M` means `32MiB`" + `.
- **Switches** are ` + "`true`/`false`, `1`/`0`, `yes`/`no`, `on`/`off`" + ` in any case.
- **An empty value** counts as unset.

A value that makes no sense stops the start. The message lists everything that is wrong at once.
` + "`ollama-api-pool config print`" + ` shows every setting, where its value came from, and no secret.

A settings file:

` + "```toml" + `
LISTEN_ADDR = "127.0.0.1:8787"
MAX_RETRIES = 2
UPSTREAM_HEADER_TIMEOUT = "5m"
TRUSTED_PROXIES = ["127.0.0.1", "10.0.0.0/8"]
` + "```" + `
`

// Reference is the reference page of all settings in Markdown, grouped, as it
// stands in docs/configuration.md.
func Reference() string {
	var b strings.Builder
	b.WriteString(referenceHead)
	group := ""
	for _, o := range options() {
		if o.group != group {
			group = o.group
			fmt.Fprintf(&b, "\n## %s\n\n| Setting | Default | Meaning |\n| --- | --- | --- |\n", group)
		}
		def := o.whenUnset()
		if o.def != "" {
			def = "`" + o.def + "`"
		}
		meaning := o.help + " Value: " + o.rule.allowed + "."
		if o.secret {
			meaning += " Secret."
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", o.name, cell(def), cell(meaning))
	}
	return b.String()
}

// cell escapes what would end a table's cell.
func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }
