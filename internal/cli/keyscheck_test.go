package cli

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/simulator"
)

// withSamples calls f with instances that have the sample keys and a simulated
// upstream.
func withSamples(t *testing.T, f func(t *testing.T, p place)) {
	url := simulated(t)
	t.Run("stopped", func(t *testing.T) {
		p := stopped(t).with(upstreamEnv(url)...)
		p.ok(t, samples(gateway.Ollama), "keys", "import", "-")
		f(t, p)
	})
	t.Run("running", func(t *testing.T) {
		p := stopped(t).with(upstreamEnv(url)...)
		p.url = start(t, p)
		p.ok(t, samples(gateway.Ollama), "keys", "import", "-")
		f(t, p)
	})
}

func TestCheckKeys(t *testing.T) {
	withSamples(t, func(t *testing.T, p place) {
		good, bad := string(gateway.IDOfKey(sampleOf(t, simulator.FateOK))), string(gateway.IDOfKey(sampleOf(t, simulator.FateRevoked)))
		wantText(t, "a good one", p.ok(t, "", "keys", "check", good).out, "1 healthy, 0 refused, 0 unclear\n")
		r := p.part(t, "", "keys", "check", good, bad, "0000000000000000")
		wantAll(t, r.out, "1 healthy, 1 refused, 0 unclear\n", "ID ", bad+"  demo-o…", "refused")
		wantAll(t, r.err, "not every key is healthy: 1 refused, 1 not there")
		wantAll(t, p.ok(t, "", "keys", "show", bad).out, "status    failed", "The upstream refused it")

		all := p.part(t, "", "keys", "check", "--all", "--json")
		got := fromJSON[checkResult](t, all.out)
		if got.Healthy < 10 || got.Unhealthy < 1 || len(got.Results) != 20 || got.Healthy+got.Unhealthy+got.Inconclusive != 20 || got.Job == "" {
			t.Errorf("%+v", got)
		}
		wantNone(t, r.out+r.err+all.out+all.err, sampleOf(t, simulator.FateOK).Reveal(), sampleOf(t, simulator.FateRevoked).Reveal())
		p.fails(t, exitPart, "no ollama key matches", "", "keys", "check", "--status", "expired")
		p.part(t, "", "keys", "check", "0000000000000000")

		jobs := fromJSON[jobPage](t, p.ok(t, "", "jobs", "list", "--kind", "check", "--json").out)
		if jobs.Total < 3 {
			t.Errorf("%+v", jobs)
		}
		wantAll(t, p.ok(t, "", "jobs", "show", got.Job).out, "Job "+got.Job+": check of ollama", "state     done", "source    all keys", "20 of 20", "healthy")
		wantAll(t, p.ok(t, "", "jobs", "show", got.Job, "--bad").out, "line,key,reason\n", ",demo-o…")
		wantAll(t, p.ok(t, "", "jobs", "watch", got.Job).out, "state     done")
		wantAll(t, p.ok(t, "", "jobs", "list", "--limit", "1").out, "check", "ollama", "done")
		p.fails(t, exitFailed, "does not run any more", "", "jobs", "cancel", got.Job)
		for _, what := range []string{"show", "watch", "cancel"} {
			p.fails(t, exitPart, "no such job", "", "jobs", what, "0000000000000000")
		}
		if p.url == "" {
			p.fails(t, exitFailed, "--background needs a server that runs", "", "keys", "check", "--all", "--background")
			return
		}
		begun := p.ok(t, "", "keys", "check", "--all", "--background")
		watched := fromJSON[job](t, p.ok(t, "", "jobs", "watch", strings.TrimSpace(begun.out), "--json").out)
		if watched.State != gateway.JobDone || watched.Done != 20 {
			t.Errorf("%+v", watched)
		}
	})
}

func TestImportValidated(t *testing.T) {
	url := simulated(t)
	for _, name := range []string{"stopped", "running"} {
		t.Run(name, func(t *testing.T) {
			p := stopped(t).with(upstreamEnv(url)...)
			if name == "running" {
				start(t, p)
			}
			good, bad, poor := sampleOf(t, simulator.FateOK).Reveal(), sampleOf(t, simulator.FateRevoked).Reveal(), sampleOf(t, simulator.FateNoCredit).Reveal()
			text := "# mine\nada@demo.invalid----" + good + "\n\nshort\n" + bad + "\n" + good + "\n" + poor + "\n"
			file := writeTemp(t, "accounts.txt", text)
			dry := p.part(t, "", "keys", "import", file, "--validate", "--dry-run")
			wantText(t, "dry run", dry.out, "3 to be added, 1 already there, 1 bad line\n")
			r := p.part(t, "", "keys", "import", file, "--validate")
			wantAll(t, r.out, " added, ", "1 refused", "1 bad line\nFamilies: ")
			wantAll(t, r.err, "Refused, by line:\n  5: demo-o…", "Bad lines, by number:\n  4: key is shorter", "not all of it could be used")
			wantNone(t, r.out+r.err+dry.out+dry.err, good, bad, poor)
			list := fromJSON[listedKeysJSON](t, p.ok(t, "", "keys", "list", "--json").out)
			for _, k := range list.Keys {
				if string(k.ID) == id(bad) {
					t.Error("the refused key was added")
				}
				if string(k.ID) == id(good) && k.Category == "" {
					t.Error("the good key has no category")
				}
			}
			again := fromJSON[validatedJSON](t, p.part(t, "", "keys", "import", file, "--validate", "--json").out)
			if again.Added != 0 || again.Existing < 2 || len(again.Refused) != 1 || again.Refused[0].Line != 5 || again.BadCount != 1 || again.Job == "" {
				t.Errorf("%+v %+v", again, again.tally)
			}
			jobs := fromJSON[jobPage](t, p.ok(t, "", "jobs", "list", "--kind", "import", "--json").out)
			if len(jobs.Jobs) != 2 || !strings.Contains(jobs.Jobs[0].Source, "accounts.txt") {
				t.Errorf("%+v", jobs)
			}
			p.fails(t, exitFailed, "none of it can be used", bad, "keys", "import", "-", "--validate")
			p.fails(t, exitFailed, "there is no key in it", "# none", "keys", "import", "-", "--validate")
		})
	}
}

func TestReadEvents(t *testing.T) {
	var seen []string
	read := func(text string) (string, error) {
		seen = nil
		data, err := readEvents(strings.NewReader(text), func(data []byte) { seen = append(seen, string(data)) })
		return string(data), err
	}
	got, err := read(": hello\n\nevent: progress\ndata: {\"done\":1}\n\nevent:progress\r\ndata:{\"done\":2}\r\n\r\ndata: x\n\nevent: result\ndata: {\"a\":\ndata: 1}\n\n")
	if err != nil || got != `{"a":1}` || !slices.Equal(seen, []string{`{"done":1}`, `{"done":2}`}) {
		t.Errorf("%q, %v, %q", got, err, seen)
	}
	if _, err := read("event: error\ndata: {\"error\":{\"message\":\"no\\u001b way\"}}\n\n"); err == nil || err.Error() != "no· way" {
		t.Errorf("error %v", err)
	}
	if _, err := read("event: error\ndata: nonsense\n\n"); err == nil || !strings.Contains(err.Error(), "does not say why") {
		t.Errorf("error %v", err)
	}
	if _, err := read("event: progress\ndata: 1\n\nevent: result\ndata: {}"); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("error %v", err)
	}
}

func FuzzReadEvents(f *testing.F) {
	f.Add("event: progress\ndata: {}\n\nevent: result\ndata: {}\n\n")
	f.Add(": x\r\n\r\nevent: error\ndata\n\n")
	f.Fuzz(func(t *testing.T, text string) {
		data, err := readEvents(strings.NewReader(text), func([]byte) {})
		if err == nil && bytes.ContainsAny(data, "\n") {
			t.Errorf("%q", data)
		}
	})
}

func TestBar(t *testing.T) {
	for want, c := range map[string][2]int{
		"[....................]": {0, 0}, "[#...................]": {5, 100}, "[##########..........]": {1, 2}, "[####################]": {7, 3},
	} {
		wantText(t, "bar", bar(c[0], c[1]), want)
	}
	wantText(t, "line", step{Done: 2, Total: 4, Healthy: 1, Unhealthy: 1}.line(), "[##########..........] 2 of 4 keys: 1 good, 1 refused, 0 unclear")
}
