package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"
)

// environmentName is the variable by which wrangler chooses one of the file's
// environments (https://developers.cloudflare.com/workers/wrangler/system-environment-variables/).
const environmentName = "CLOUDFLARE_ENV"

// parseFile reads a settings file: TOML, or JSON with comments where its name
// ends so, as wrangler.jsonc.
func parseFile(name, text string) (doc map[string]any, err error) {
	switch strings.ToLower(filepath.Ext(name)) {
	case ".json", ".jsonc":
		doc, err = parseJSONC(text)
	default:
		if _, err = toml.Decode(text, &doc); err != nil {
			err = tomlError(err)
		}
	}
	return doc, err
}

// varsOf finds the table that holds the settings. Where an environment is chosen
// it is that one's alone: wrangler does not inherit vars
// (https://developers.cloudflare.com/workers/wrangler/environments/).
func (s *sources) varsOf(doc map[string]any, environment string) (vars any, where string) {
	environments, _ := doc["env"].(map[string]any)
	if environment == "" {
		s.unusedVars(environments)
		return doc[varsTable], varsTable
	}
	chosen, is := environments[environment].(map[string]any)
	if !is {
		s.problems = append(s.problems, Problem{
			Setting: environmentName, Value: plain(environment), Source: FromEnvironment, Reason: "must be the name of an [env.…] section of the file",
		})
		return nil, varsTable
	}
	return chosen[varsTable], "env." + environment + "." + varsTable
}

// unusedVars tells of settings that stand in environments of which none is chosen.
func (s *sources) unusedVars(environments map[string]any) {
	for _, name := range slices.Sorted(maps.Keys(environments)) {
		section, _ := environments[name].(map[string]any)
		vars, _ := section[varsTable].(map[string]any)
		for setting := range vars {
			if lookup(setting) != nil {
				s.warnings = append(s.warnings, fmt.Sprintf("settings under [env.%s.vars] are not used: %s=%s in the environment uses them instead of [vars]",
					plain(name), environmentName, plain(name)))
				break
			}
		}
	}
}

// variableOf finds a variable of the environment that is no setting.
func variableOf(environ []string, name string) (value string) {
	for _, e := range environ {
		if v, is := strings.CutPrefix(e, name+"="); is {
			value = strings.TrimSpace(v)
		}
	}
	return value
}

var errManyDocuments = errors.New("something follows the closing bracket")

// parseJSONC reads JSON with comments and commas in front of closing brackets.
// Its errors name a line and repeat nothing.
func parseJSONC(text string) (map[string]any, error) {
	text = strings.TrimPrefix(text, "\ufeff")
	bare := dropJSONComments(text)
	dec := json.NewDecoder(bytes.NewReader(bare))
	dec.UseNumber()
	var doc map[string]any
	err := dec.Decode(&doc)
	if err == nil {
		if _, more := dec.Token(); !errors.Is(more, io.EOF) {
			err = errManyDocuments
		}
	}
	if err == nil {
		return plainNumbers(doc).(map[string]any), nil
	}
	line := 1 + bytes.Count(bare[:min(dec.InputOffset(), int64(len(bare)))], []byte("\n"))
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		line = 1 + bytes.Count(bare[:min(syntax.Offset, int64(len(bare)))], []byte("\n"))
	}
	return nil, fmt.Errorf("line %d: not valid JSON", line)
}

// dropJSONComments puts blanks in the place of comments and of commas in front
// of closing brackets, so that lines and bytes stay where they are.
func dropJSONComments(text string) []byte {
	b := []byte(text)
	comma := -1 // the last one, while nothing but blanks has followed
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case c == '"':
			comma = -1
			for i++; i < len(b) && b[i] != '"'; i++ {
				if b[i] == '\\' {
					i++
				}
			}
		case c == '/' && i+1 < len(b) && b[i+1] == '/':
			for ; i < len(b) && b[i] != '\n'; i++ {
				b[i] = ' '
			}
		case c == '/' && i+1 < len(b) && b[i+1] == '*':
			end := bytes.Index(b[i+2:], []byte("*/"))
			stop := len(b)
			if end >= 0 {
				stop = i + 2 + end + 2
			}
			for ; i < stop; i++ {
				if b[i] != '\n' {
					b[i] = ' '
				}
			}
			i--
		case c == ',':
			comma = i
		case c == '}' || c == ']':
			if comma >= 0 {
				b[comma] = ' '
			}
			comma = -1
		case c != ' ' && c != '\t' && c != '\r' && c != '\n':
			comma = -1
		}
	}
	return b
}

// plainNumbers gives numbers the types that TOML's have.
func plainNumbers(v any) any {
	switch v := v.(type) {
	case json.Number:
		if n, err := strconv.ParseInt(v.String(), 10, 64); err == nil {
			return n
		}
		f, _ := v.Float64() // what is out of range is infinite, which no setting may be
		return f
	case map[string]any:
		for name, under := range v {
			v[name] = plainNumbers(under)
		}
	case []any:
		for i := range v {
			v[i] = plainNumbers(v[i])
		}
	}
	return v
}
