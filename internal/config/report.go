package config

import (
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"text/tabwriter"
	"unicode"

	"ollama-api-pool/internal/gateway"
)

// Source says where a setting's value came from.
type Source string

// Where a value can come from.
const (
	FromDefault     Source = "default"
	FromEnvironment Source = "environment"
	FromFile        Source = "file"
)

// Setting is one setting as it may be shown: secrets as ***, and of the
// addresses that hold a password all but that.
type Setting struct {
	Name    string
	Group   string
	Value   string // "": not set
	Source  Source
	Default string // as an operator would write it; "": none
	Unset   string // what having no value means, in a few words
	Help    string // what it is for; names and values stand between backquotes
}

// Report tells how the settings were found.
type Report struct {
	File     string    // "": none
	Warnings []string  // one sentence each, without a secret
	Settings []Setting // every one, in the order of the reference page
}

// Print writes every setting with its value and where that came from, grouped,
// without a secret. The error is the writer's.
func (r Report) Print(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	group := ""
	for _, s := range r.Settings {
		if s.Group != group {
			if group != "" {
				_, _ = fmt.Fprintln(tw)
			}
			group = s.Group
			_, _ = fmt.Fprintf(tw, "# %s\n", group)
		}
		value, from := s.Value, string(s.Source)
		if value == "" {
			value = "(" + lookup(s.Name).whenUnset() + ")"
		}
		if s.Source == FromFile {
			from = "file " + r.File
		}
		_, _ = fmt.Fprintf(tw, "%s\t%s\t%s\n", s.Name, value, from)
	}
	if err := tw.Flush(); err != nil {
		return fmt.Errorf("print settings: %w", err)
	}
	return nil
}

// Problem is one setting that is wrong.
type Problem struct {
	Setting string
	Value   string // as it may be shown; "": not set
	Source  Source
	Reason  string // what is allowed, or what it lacks
}

// String is the problem as one line.
func (p Problem) String() string {
	if p.Value == "" {
		return p.Setting + " " + p.Reason
	}
	return fmt.Sprintf("%s=%s (%s) %s", p.Setting, p.Value, p.Source, p.Reason)
}

// Problems is every setting that is wrong, as one error. It holds no secret.
type Problems []Problem

// Error lists the problems, a line each.
func (ps Problems) Error() string {
	if len(ps) == 1 {
		return "a setting is wrong: " + ps[0].String()
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d settings are wrong:", len(ps))
	for _, p := range ps {
		b.WriteString("\n  " + p.String())
	}
	return b.String()
}

const (
	hidden    = "***"
	maxShown  = 200 // bytes of a value that a message or listing repeats
	hiddenArg = "%2A%2A%2A"
)

// shown is the value as it may be shown to the operator.
func (o *option) shown(text string) string {
	switch {
	case text == "" || !o.secret:
		return plain(text)
	case o.address:
		return HidePassword(text)
	}
	return hidden
}

// shownWrong is a refused value as it may be shown. What could not be
// understood is not taken apart either: of a secret nothing is shown.
func (o *option) shownWrong(text string) string {
	if o.secret {
		return hidden
	}
	return plain(text)
}

// plain makes a value that should be no secret fit for one line. A value with
// several lines or the name of a secret setting in it got there by a slip of
// quotes and is not shown, nor is what stands in front of an @: it may be the
// password of an address in the wrong place.
func plain(text string) string {
	for _, r := range text {
		if unicode.IsControl(r) {
			return hidden
		}
	}
	for _, o := range options() {
		if o.secret && strings.Contains(text, o.name) {
			return hidden
		}
	}
	if at := strings.LastIndexByte(text, '@'); at >= 0 {
		text = hidden + text[at:]
	}
	for _, r := range text {
		if !unicode.IsGraphic(r) || r == unicode.ReplacementChar {
			return strconv.QuoteToASCII(gateway.Clip(text, maxShown))
		}
	}
	return gateway.Clip(text, maxShown)
}

// HidePassword gives an address without its password: user:*** in front of the
// host and *** for query values that are credentials. What is no address
// becomes *** as a whole.
func HidePassword(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Scheme == "" || u.Opaque != "" || strayAt(u) {
		return hidden
	}
	var b strings.Builder
	b.WriteString(u.Scheme + "://")
	if u.User != nil {
		// A name alone may be the credential itself.
		if _, ok := u.User.Password(); ok && u.User.Username() != "" {
			b.WriteString(url.User(u.User.Username()).String() + ":")
		}
		b.WriteString(hidden + "@")
	}
	b.WriteString(u.Host + u.EscapedPath())
	if u.RawQuery != "" {
		b.WriteString("?" + strings.ReplaceAll(hideQuery(u).Encode(), hiddenArg, hidden))
	}
	return gateway.Clip(b.String(), maxShown)
}

// strayAt reports whether an address has an @ where none belongs: then a
// character of the password that should have been percent-encoded has cut the
// address in the wrong place.
func strayAt(u *url.URL) bool {
	return u.User == nil && strings.Contains(u.RawPath+u.Path+u.RawQuery+u.Fragment, "@")
}

// hideQuery replaces the credentials among an address's query values.
func hideQuery(u *url.URL) url.Values {
	q := u.Query()
	for name, values := range q {
		low := strings.ToLower(name)
		for _, word := range []string{"pass", "pwd", "secret", "token", "key"} {
			if strings.Contains(low, word) {
				for i := range values {
					values[i] = hidden
				}
			}
		}
	}
	return q
}
