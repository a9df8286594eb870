// Package selftest asks a running deployment, from outside and as its clients
// do, whether it works: it is the last step of a deployment, and the first one
// when something is said to be broken. It knows nothing of the program that it
// asks but its public addresses.
package selftest

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"

	"ollama-api-pool/internal/gateway"
)

// Options say what is asked, and as whom.
type Options struct {
	URL        string // where the deployment is, without a slash at its end
	Token      gateway.Secret
	AdminToken gateway.Secret         // "": what needs it is left out
	Providers  []gateway.ProviderName // whose addresses are asked
	Model      string                 // "": one that the deployment lists
	Agent      string                 // how the test names itself, a User-Agent
	Timeout    time.Duration          // of one request with its whole answer
	Wait       time.Duration          // how long the deployment may take to begin to serve
	Transport  http.RoundTripper      // what requests are sent with
}

// Result is how a step ended.
type Result string

// The results of a step.
const (
	Passed  Result = "passed"
	Failed  Result = "failed"
	Skipped Result = "skipped" // it could not be tried after what failed before
)

// Step is one thing that was tried. Its texts hold neither secrets nor what
// could disturb a terminal.
type Step struct {
	Name     string
	Provider gateway.ProviderName // "": it belongs to none
	Result   Result
	Took     time.Duration
	Seen     string // what the deployment did, in few words
	Cause    string // of a failure: what was wrong; of a skipped step: why
	Cure     string // of a failure: what to do about it
	Note     string // what works and is doubtful all the same
}

// Report is what came of all steps.
type Report struct {
	URL       string
	Version   string // of the deployment, "" where it was not told
	Models    map[gateway.ProviderName]string
	StartedAt time.Time
	Took      time.Duration
	Steps     []Step
}

// Count is how many steps had a result.
func (r *Report) Count(of Result) int {
	n := 0
	for i := range r.Steps {
		if r.Steps[i].Result == of {
			n++
		}
	}
	return n
}

// OK reports whether all that was wanted works.
func (r *Report) OK() bool { return len(r.Steps) > 0 && r.Count(Passed) == len(r.Steps) }

// Run takes the steps one after the other and calls seen, which may be nil,
// after each of them. When ctx ends, what is left is skipped.
func Run(ctx context.Context, o *Options, seen func(Step)) *Report {
	r := &run{
		Options: *o,
		report:  &Report{URL: o.URL, Models: map[gateway.ProviderName]string{}, StartedAt: time.Now().UTC()},
		client: &http.Client{
			Transport: o.Transport,
			// A token goes nowhere but where it was meant to.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		figures: map[gateway.ProviderName]*counted{},
	}
	for _, c := range r.checks() {
		if ctx.Err() != nil {
			r.stop = "the test was interrupted"
		}
		s := r.take(ctx, c)
		r.report.Steps = append(r.report.Steps, s)
		if seen != nil {
			seen(s)
		}
	}
	r.report.URL = r.clean(r.report.URL)
	r.report.Version = r.clean(r.report.Version)
	r.report.Took = time.Since(r.report.StartedAt)
	return r.report
}

// run is one test under way. It belongs to one goroutine.
type run struct {
	Options
	report *Report
	client *http.Client
	stop   string // why nothing more can be asked; "": it can
	locked string // why nothing can be asked with the token; "": it can

	prompt  *template // the first of the deployment's sample prompts
	known   []model   // those of the provider whose turn it is
	listed  []string  // the ids of those that can chat, the first to try first
	chosen  string    // the one that served
	figures map[gateway.ProviderName]*counted
}

// check is a step to be taken.
type check struct {
	name     string
	provider gateway.ProviderName
	token    bool // it needs a token that is good
	// do returns what was seen; the error is a *fault or a reason to skip.
	do func(ctx context.Context, p gateway.ProviderName) (outcome, error)
}

// outcome is what a step that passed has to say.
type outcome struct{ seen, note string }

// skip is the reason why a step was not tried.
type skip string

func (s skip) Error() string { return string(s) }

// take takes a step.
func (r *run) take(ctx context.Context, c check) Step {
	s := Step{Name: c.name, Provider: c.provider, Result: Passed}
	began := time.Now()
	var out outcome
	var err error
	switch {
	case r.stop != "":
		err = skip(r.stop)
	case c.token && r.locked != "":
		err = skip(r.locked)
	default:
		out, err = c.do(ctx, c.provider)
	}
	s.Took = time.Since(began)
	s.Seen, s.Note = r.clean(out.seen), r.clean(out.note)
	if err == nil {
		return s
	}
	var why skip
	if errors.As(err, &why) {
		s.Result, s.Cause = Skipped, r.clean(string(why))
		return s
	}
	f := asFault(err)
	s.Result, s.Cause, s.Cure = Failed, r.clean(f.cause), r.clean(f.cure)
	return s
}

// longestText is how much of a text a report shows, in bytes.
const longestText = 400

// clean makes a text fit to be shown: without secrets, on one line.
func (r *run) clean(s string) string {
	for _, secret := range []gateway.Secret{r.Token, r.AdminToken} {
		if secret != "" {
			s = strings.ReplaceAll(s, secret.Reveal(), secret.String())
		}
	}
	s = strings.Map(func(c rune) rune {
		if unicode.IsGraphic(c) {
			return c
		}
		return ' '
	}, s)
	return gateway.Clip(strings.Join(strings.Fields(s), " "), longestText)
}

// fault is why a step failed.
type fault struct {
	cause, cure string
	status      int // that was answered, 0 if it is not about that
}

func (f *fault) Error() string { return f.cause }

// asFault finds the fault in err, or makes one of it.
func asFault(err error) *fault {
	var f *fault
	if errors.As(err, &f) {
		return f
	}
	return &fault{cause: err.Error(), cure: cureUnknown}
}

const cureUnknown = "Look into the log of the server, by the time of this test."

// checks are all steps in their order.
func (r *run) checks() []check {
	all := []check{
		{name: "health", do: r.health},
		{name: "ready", do: r.ready},
		{name: "API document", do: r.document},
		{name: "unknown address", do: r.unknownAddress},
		{name: "wrong token", do: r.wrongToken},
		{name: "admin API is closed", do: r.closed},
		{name: "sample prompts", do: r.samplePrompts},
	}
	for _, p := range r.Providers {
		native := p == gateway.Ollama
		steps := []struct {
			check
			wanted bool
		}{
			{check{name: "public figures", do: r.publicFigures}, true},
			{check{name: "models", token: true, do: r.models}, true},
			{check{name: "native models", token: true, do: r.nativeModels}, native},
			{check{name: "chat", token: true, do: r.chat}, true},
			{check{name: "streaming chat", token: true, do: r.streamingChat}, true},
			{check{name: "Anthropic messages", token: true, do: r.anthropic}, native},
			{check{name: "native chat", token: true, do: r.nativeChat}, native},
			{check{name: "sample prompt", token: true, do: r.samplePrompt}, true},
			{check{name: "requests are counted", token: true, do: r.requestsCounted}, true},
		}
		for _, s := range steps {
			if s.provider = p; s.wanted {
				all = append(all, s.check)
			}
		}
	}
	if r.AdminToken != "" {
		all = append(all, check{name: "admin figures", do: r.adminFigures}, check{name: "metrics", do: r.metrics})
	}
	return all
}

// prefix is what stands before the addresses of a provider.
func prefix(p gateway.ProviderName) string {
	if p == gateway.OpenRouter {
		return "/openrouter"
	}
	return ""
}

// plural is a number with its noun.
func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return strconv.Itoa(n) + " " + noun + "s"
}
