package browser

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// Request is what a page asked for.
type Request struct {
	Method, URL string
	Type        network.ResourceType
	Status      int  // 0 until there is an answer
	Bytes       int  // that came over the wire, header and body, once it is finished
	Done        bool // finished or failed
	Forgotten   bool // belongs to an earlier document
}

// watch collects what goes wrong in a window, and all that it asks for.
type watch struct {
	origin string

	mu       sync.Mutex // guards what follows
	faults   []string
	expected []*expectation
	sent     map[network.RequestID]*Request
	order    []*Request
	copied   []string
	writes   int // changes of copied
}

// expectation is a fault that a test provokes.
type expectation struct {
	words string
	must  bool // it is a fault if it does not come
	came  bool
}

// Expect declares faults that the test provokes: a number stands for answers
// with that status, a text for faults that hold it. The test fails if such a
// fault does not come, and does not if it comes.
func (p *Page) Expect(faults ...any) { p.watch.expect(true, faults) }

// Tolerate declares faults that may come and need not, as that a connection
// breaks when the server ends.
func (p *Page) Tolerate(faults ...any) { p.watch.expect(false, faults) }

func (w *watch) expect(must bool, faults []any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, fault := range faults {
		words := fmt.Sprint(fault)
		if status, ok := fault.(int); ok {
			words = statusWords(status)
		}
		w.expected = append(w.expected, &expectation{words: words, must: must})
	}
}

func statusWords(status int) string { return ": status " + strconv.Itoa(status) }

// verdict returns the faults that nobody expected, and the expectations that
// nothing met.
func (w *watch) verdict() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []string
	for _, fault := range w.faults {
		if !w.foreseen(fault) {
			out = append(out, fault)
		}
	}
	for _, e := range w.expected {
		if e.must && !e.came {
			out = append(out, fmt.Sprintf("there was no fault with %q, which the test expects", e.words))
		}
	}
	return slices.Compact(out)
}

// foreseen marks the expectations that a fault meets. The caller holds mu.
func (w *watch) foreseen(fault string) bool {
	met := false
	for _, e := range w.expected {
		if strings.Contains(fault, e.words) {
			e.came, met = true, true
		}
	}
	return met
}

// outstanding is an error as long as an expectation is not met.
func (w *watch) outstanding() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, fault := range w.faults {
		w.foreseen(fault)
	}
	for _, e := range w.expected {
		if e.must && !e.came {
			return fmt.Errorf("no fault with %q", e.words)
		}
	}
	return nil
}

func (w *watch) soFar() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.faults)
}

// Faults are what went wrong in the page so far, expected or not.
func (p *Page) Faults() []string { return p.watch.soFar() }

// Requests are what the page has asked for since it was opened or loaded again.
func (p *Page) Requests() []Request {
	p.watch.mu.Lock()
	defer p.watch.mu.Unlock()
	var out []Request
	for _, r := range p.watch.order {
		if !r.Forgotten {
			out = append(out, *r)
		}
	}
	return out
}

// Transferred is how many bytes came over the wire since the page was opened or
// loaded again, in requests that are finished.
func (p *Page) Transferred() int {
	sum := 0
	for _, r := range p.Requests() {
		sum += r.Bytes
	}
	return sum
}

func (w *watch) forgetTransfers() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range w.order {
		r.Forgotten = true
	}
}

func (w *watch) fault(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.faults = append(w.faults, fmt.Sprintf(format, args...))
}

// The script that reports what the protocol has no event for, and the name of
// what it calls. It runs in a world of its own, the second one in the page's.
const (
	reportName = "report"
	reporter   = `addEventListener("securitypolicyviolation", e => report(JSON.stringify({
		policy: e.effectiveDirective + " keeps out " + (e.blockedURI || "?") + (e.sourceFile ? " from " + e.sourceFile + ":" + e.lineNumber : "") + (e.sample ? ": " + e.sample : "")})), true);
		addEventListener("copied-by-page", e => report(JSON.stringify({copied: e.detail})), true);`
	copies = `(() => {
		const tell = text => dispatchEvent(new CustomEvent("copied-by-page", {detail: String(text)}));
		addEventListener("copy", e => {
			const at = document.activeElement, typed = at && "selectionStart" in at && at.selectionEnd > at.selectionStart;
			const text = typed ? at.value.slice(at.selectionStart, at.selectionEnd) : String(getSelection());
			setTimeout(() => tell(e.clipboardData?.getData("text/plain") || text));
		}, true);
		const clipboard = navigator.clipboard;
		if (!clipboard) return;
		const write = clipboard.writeText.bind(clipboard);
		clipboard.writeText = async text => { await write(text); tell(text); };
	})();`
)

// watchFromNowOn makes the window report all that the watch collects.
func (p *Page) watchFromNowOn(ctx context.Context) error {
	const world = "watch"
	if _, err := chromedp.Call(ctx, runtime.AddBinding, runtime.AddBindingParams{Name: reportName, ExecutionContextName: world}); err != nil {
		return err
	}
	if _, err := chromedp.Call(ctx, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: reporter, WorldName: world}); err != nil {
		return err
	}
	_, err := chromedp.Call(ctx, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: copies})
	return err
}

// listen is called with every event of the window, in their order.
func (w *watch) listen(ev any) {
	switch ev := ev.(type) {
	case *runtime.EventConsoleAPICalled:
		if ev.Type == runtime.ConsoleAPICalledTypeError || ev.Type == runtime.ConsoleAPICalledTypeWarning || ev.Type == runtime.ConsoleAPICalledTypeAssert {
			w.fault("console.%s: %s%s", ev.Type, arguments(ev.Args), where(ev.StackTrace))
		}
	case *runtime.EventExceptionThrown:
		d := ev.ExceptionDetails
		text := d.Text
		if d.Exception != nil {
			text += " " + d.Exception.Description
			if d.Exception.Description == "" {
				text += string(d.Exception.Value)
			}
		}
		w.fault("uncaught: %s (%s:%d)", text, d.URL, d.LineNumber+1)
	case *runtime.EventBindingCalled:
		w.reported(ev.Payload)
	case *log.EventEntryAdded:
		w.logged(ev.Entry)
	case *network.EventRequestWillBeSent, *network.EventResponseReceived, *network.EventLoadingFailed, *network.EventLoadingFinished:
		w.network(ev)
	}
}

func (w *watch) reported(payload string) {
	var said struct {
		Policy string
		Copied *string
	}
	if err := json.Unmarshal([]byte(payload), &said); err != nil {
		w.fault("a report that is none: %s", payload)
		return
	}
	if said.Policy != "" {
		w.fault("content policy: %s", said.Policy)
	}
	if said.Copied != nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.copied = append(w.copied, *said.Copied)
	}
}

// logged takes an entry of the browser's log. What failed on the network, and
// what the policy kept out, is known from elsewhere with more words.
func (w *watch) logged(e *log.Entry) {
	if e.Level != log.EntryLevelError && e.Level != log.EntryLevelWarning {
		return
	}
	if e.Source == log.EntrySourceNetwork || strings.Contains(e.Text, "Content Security Policy") {
		return
	}
	w.fault("%s (%s): %s %s", e.Level, e.Source, e.Text, e.URL)
}

func (w *watch) network(ev any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch ev := ev.(type) {
	case *network.EventRequestWillBeSent:
		r := &Request{Method: ev.Request.Method, URL: ev.Request.URL, Type: ev.Type}
		w.sent[ev.RequestID] = r
		w.order = append(w.order, r)
		if u, err := url.Parse(r.URL); err != nil || (u.Scheme+"://"+u.Host != w.origin && !slices.Contains([]string{"data", "blob", "about"}, u.Scheme)) {
			w.faults = append(w.faults, fmt.Sprintf("asks another origin: %s %s", r.Method, shortened(r.URL)))
		}
	case *network.EventResponseReceived:
		if r := w.sent[ev.RequestID]; r != nil {
			r.Status = int(ev.Response.Status)
			if r.Status >= 400 {
				w.faults = append(w.faults, w.named(r)+statusWords(r.Status))
			}
		}
	case *network.EventLoadingFailed:
		r := w.sent[ev.RequestID]
		if r == nil {
			return
		}
		r.Done = true
		// What the page itself gave up, by leaving or on purpose, is no fault;
		// what the policy kept out reports itself.
		if !ev.Canceled && ev.BlockedReason != network.BlockedReasonCsp {
			w.faults = append(w.faults, fmt.Sprintf("%s: %s %s", w.named(r), ev.ErrorText, ev.BlockedReason))
		}
	case *network.EventLoadingFinished:
		if r := w.sent[ev.RequestID]; r != nil {
			r.Done, r.Bytes = true, int(ev.EncodedDataLength)
		}
	}
}

// named is a request as faults name it.
func (w *watch) named(r *Request) string {
	return r.Method + " " + shortened(strings.TrimPrefix(r.URL, w.origin))
}

// arguments writes what was given to console.error and its like.
func arguments(args []*runtime.RemoteObject) string {
	var parts []string
	for _, a := range args {
		switch {
		case a.Type == runtime.RemoteObjectTypeString:
			var text string
			_ = json.Unmarshal(a.Value, &text)
			parts = append(parts, text)
		case a.Description != "":
			parts = append(parts, a.Description)
		default:
			parts = append(parts, string(a.Value))
		}
	}
	return strings.Join(parts, " ")
}

func where(s *runtime.StackTrace) string {
	if s == nil || len(s.CallFrames) == 0 {
		return ""
	}
	f := s.CallFrames[0]
	return fmt.Sprintf(" (%s:%d)", f.URL, f.LineNumber+1)
}

// Copied waits until the page has copied something since the last call, or
// since it was opened, and returns the text. The clipboard itself is one for all
// windows, so the page's own calls are listened to.
func (p *Page) Copied() string {
	p.t.Helper()
	var text string
	p.until("a copy", func(context.Context) error {
		p.watch.mu.Lock()
		defer p.watch.mu.Unlock()
		if len(p.watch.copied) <= p.watch.writes {
			return fmt.Errorf("the page copied nothing")
		}
		text = p.watch.copied[len(p.watch.copied)-1]
		p.watch.writes = len(p.watch.copied)
		return nil
	})
	return text
}
