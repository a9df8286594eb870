package sqlstore

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// numbered gives a statement PostgreSQL's placeholders.
func (d *postgres) numbered(text string) string {
	if known, ok := d.texts.Load(text); ok {
		return known.(string) //nolint:forcetypeassert // nothing else is stored
	}
	made := numberPlaceholders(pgText(text))
	if d.kept.Add(1) > pgTextsKept {
		d.texts.Clear()
		d.kept.Store(1)
	}
	d.texts.Store(text, made)
	return made
}

// pgText is a statement in PostgreSQL's words, where they differ from SQLite's.
func pgText(text string) string { return strings.ReplaceAll(text, "collate binary", `collate "C"`) }

// storable is a value without what a text of PostgreSQL cannot hold.
func storable(v any) any {
	switch v := v.(type) {
	case string:
		if strings.IndexByte(v, 0) >= 0 || !utf8.ValidString(v) {
			const instead = "\uFFFD"
			return strings.ReplaceAll(strings.ToValidUTF8(v, instead), "\x00", instead)
		}
	case []any:
		for i := range v {
			v[i] = storable(v[i])
		}
	}
	return v
}

// numberPlaceholders replaces every ? outside of quotes by $1, $2 and so on.
func numberPlaceholders(text string) string {
	var b strings.Builder
	n, quote := 0, byte(0)
	for i := range len(text) {
		c := text[i]
		switch {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '\'', c == '"':
			quote = c
		case c == '?':
			n++
			b.WriteString("$" + strconv.Itoa(n))
			continue
		}
		b.WriteByte(c)
	}
	return b.String()
}
