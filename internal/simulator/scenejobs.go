package simulator

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"time"

	"ollama-api-pool/internal/gateway"
)

// batch is an import of the past.
type batch struct {
	before time.Duration // before now
	took   time.Duration
	share  float64 // of the provider's keys
	source string  // the name of a file; "": the lines were pasted
	bad    []gateway.BadKey
}

const sceneDay = 24 * time.Hour

// importsOf are the imports by which keys came, the earliest first.
var importsOf = map[gateway.ProviderName][]batch{
	gateway.Ollama: {
		{29*sceneDay + 5*time.Hour, 41 * time.Second, .58, "ollama.txt", []gateway.BadKey{
			{Line: 17, Reason: "key is shorter than 8 characters"}, {Line: 218, Reason: "no key"}, {Line: 219, Reason: "no key"},
		}},
		{12*sceneDay + 2*time.Hour, 26 * time.Second, .34, "accounts-second.txt", []gateway.BadKey{{Line: 4, Reason: "key has a blank inside"}}},
		{2*sceneDay + 7*time.Hour, 3 * time.Second, .08, "", nil},
	},
	gateway.OpenRouter: {
		{27 * sceneDay, 9 * time.Second, .7, "openrouter.txt", nil},
		{6*sceneDay + 3*time.Hour, 2 * time.Second, .3, "", nil},
	},
}

// batchAt is the import with which the key came that stands at a place among all.
func batchAt(batches []batch, place float64) int {
	for i := range batches {
		if place -= batches[i].share; place < 0 {
			return i
		}
	}
	return len(batches) - 1
}

// imports notes the imports of a provider.
func (s *Scene) imports(p gateway.ProviderName) {
	for i, b := range importsOf[p] {
		j := s.job(gateway.JobImport, p, b.source, b.before, b.took)
		for _, a := range s.cast[p] {
			if a.added == i {
				j.Counts["added"]++
				j.Counts["valid"]++
				j.Categories[s.category(FirstModel(p, a.Secret))]++
			}
		}
		j.Counts["existing"], j.Counts["bad"] = 7*i, len(b.bad)
		j.Total = j.Counts["added"] + j.Counts["existing"] + j.Counts["bad"]
		j.Done, j.Bad = j.Total, b.bad
		if j.Source == "" {
			j.Source = fmt.Sprintf("pasted, %d lines", j.Total)
		}
		s.jobs = append(s.jobs, j)
	}
}

// checks notes the checks of keys that were made.
func (s *Scene) checks() {
	n := len(s.cast[gateway.Ollama])
	for _, c := range []struct {
		p                               gateway.ProviderName
		source, by                      string
		before, took                    time.Duration
		total, done, sick, inconclusive int
		state                           gateway.JobState
	}{
		{p: gateway.Ollama, source: "all keys", by: "api", before: 8*sceneDay + time.Hour, took: 4 * time.Minute, total: n * 9 / 10, done: n * 4 / 10, sick: n / 90, state: gateway.JobCancelled},
		{p: gateway.Ollama, source: "all keys", by: "api", before: 26 * time.Hour, took: 9 * time.Minute, total: n, done: n, sick: n / 50, inconclusive: 3, state: gateway.JobDone},
		{p: gateway.OpenRouter, source: "keys that failed", by: "schedule", before: 3*time.Hour + 20*time.Minute, took: 2 * time.Second, total: 3, done: 3, sick: 3, state: gateway.JobDone},
		{p: gateway.Ollama, source: "keys that failed", by: "schedule", before: 100 * time.Minute, took: 7 * time.Second, total: n / 50, done: n / 50, sick: n / 60, state: gateway.JobDone},
	} {
		j := s.job(gateway.JobCheck, c.p, c.source, c.before, c.took)
		j.By, j.State, j.Total, j.Done = c.by, c.state, c.total, c.done
		j.Counts = map[string]int{"healthy": c.done - c.sick - c.inconclusive, "unhealthy": c.sick, "inconclusive": c.inconclusive}
		s.jobs = append(s.jobs, j)
	}
}

// job is one that was done some time ago.
func (s *Scene) job(kind gateway.JobKind, p gateway.ProviderName, source string, before, took time.Duration) gateway.Job {
	began := s.ago(before)
	return gateway.Job{
		ID: s.hex(), Kind: kind, Provider: p, State: gateway.JobDone, Source: source, By: "api",
		StartedAt: began, UpdatedAt: began.Add(took), FinishedAt: began.Add(took),
		Counts: map[string]int{}, Categories: map[string]int{},
	}
}

// hex is an identifier of 16 digits.
func (s *Scene) hex() string {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], s.rnd.Uint64())
	return hex.EncodeToString(b[:])
}
