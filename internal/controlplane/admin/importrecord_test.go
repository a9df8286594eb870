package admin_test

import (
	"strings"
	"testing"
	"time"
)

func TestDryRun(t *testing.T) {
	p := start(t)
	p.plant(annaKey, borisKey, "x----hunter2-canary----SESSION-canary;aid=aid-canary-7----aid-canary-7----"+shortKey)
	p.call("POST /admin/api-keys", `{"api_key":"`+borisKey+`"}`)
	lines := "a@b.example----hunter2-canary----SESSION-canary;aid=aid-canary-7----aid-canary-7----" + shortKey + "\n" + annaKey + "\n\nthree----fields----only\nboris----" + borisKey + "\n" + annaKey + "\n"
	foreseen := `"added":2,"existing":2,"invalid":[{"line":4,"reason":"three fields: it is not clear which of them is the key"}],"invalidTotal":1,"dryRun":true,"repeated":1,
		"preview":[{"line":1,"username":"a@b.example","key":"fa…","form":"5 fields"},{"line":2,"username":"","key":"ollama…wxyz","form":"bare key"},
		{"line":5,"username":"boris","key":"ollama…abcd","form":"2 fields"},{"line":6,"username":"","key":"ollama…wxyz","form":"bare key"}]}`
	text := "POST /admin/api-keys/import-from-txt?dryRun=true"
	p.want(text, lines, 200, `{"total":3,`+foreseen, "Content-Type", "text/plain")
	p.want(text, `{"content":`+quote(t, lines)+`}`, 200, `{"total":3,`+foreseen, "Content-Type", "application/json")
	p.want("POST /admin/api-keys/import?dryRun=1", `{"keys":["`+annaKey+`"]}`, 200, `{"total":2,"added":1,"existing":0,"invalid":[],"invalidTotal":0,
		"dryRun":true,"repeated":0,"preview":[{"line":1,"username":"","key":"ollama…wxyz","form":"bare key"}]}`)
	p.want("POST /admin/import?dryRun=1", `{"accounts":[{"api_key":"`+annaKey+`","email":"x"},7]}`, 200, `{"success":true,"imported":1,"failed":1,"duplicates":0,"total":2,
		"details":[{"line":2,"reason":"neither a text nor an object with an api_key"}],"dryRun":true,"repeated":0,
		"preview":[{"line":1,"username":"x","key":"ollama…wxyz","form":"object"}]}`)
	p.wantInvalid("POST /admin/api-keys/import?dryRun=perhaps&provider=acme", `{`, `unknown provider "acme": use "ollama" or "openrouter"; dryRun must be true or false`)
	if _, total := p.usernames(""); total != 1 {
		t.Errorf("%d keys after dry runs", total)
	}
	if jobs := p.imports(); len(jobs) != 0 {
		t.Errorf("dry runs were recorded: %+v", jobs)
	}

	// Then for real, which says the same.
	p.want("POST /admin/api-keys/import-from-txt", lines, 200, `{"total":3,"added":2,"existing":2,
		"invalid":[{"line":4,"reason":"three fields: it is not clear which of them is the key"}],"invalidTotal":1}`, "Content-Type", "text/plain")
	jobs := p.imports()
	if len(jobs) != 1 || jobs[0].State != "done" || jobs[0].Source != "pasted, 5 lines" || jobs[0].By != "api" || jobs[0].Total != 5 ||
		jobs[0].Counts["added"] != 2 || jobs[0].Counts["existing"] != 2 || jobs[0].Counts["bad"] != 1 ||
		jobs[0].BadListed != 1 || jobs[0].FinishedAt.Before(jobs[0].StartedAt) {
		t.Errorf("recorded: %+v", jobs)
	}
}

// recorded is an import as the list of jobs shows it.
type recorded struct {
	State, Source, By     string
	Total, BadListed      int
	Counts                map[string]int
	StartedAt, FinishedAt time.Time
}

// imports are the imports that were recorded, the newest first.
func (p *pool) imports() []recorded {
	p.Helper()
	var out struct{ Jobs []recorded }
	p.read("GET /admin/jobs?kind=import", &out)
	return out.Jobs
}

func TestSourceOfAnImport(t *testing.T) {
	p := start(t)
	body, kind := form(t, "file", "accounts november.txt", annaKey)
	evil, evilKind := form(t, "file", "a@b.example----hunter2----x----"+annaKey, annaKey)
	for _, c := range []struct {
		body, kind, source, want string
	}{
		{body, kind, "", "accounts november.txt"},
		{body, kind, "other.txt", "accounts november.txt"},
		{evil, evilKind, "", "pasted, 1 line"},
		{annaKey, "text/plain", "", "pasted, 1 line"},
		{annaKey, "text/plain", `C:\Users\anna\keys.txt`, "keys.txt"},
		{annaKey, "text/plain", "/home/anna/keys.txt", "keys.txt"},
		{annaKey, "text/plain", "%E5%AF%86%E9%92%A5%0A.txt", "密钥.txt"},
		{annaKey, "text/plain", "anna----" + annaKey, "pasted, 1 line"},
		{annaKey, "text/plain", "///", "pasted, 1 line"},
		{annaKey, "text/plain", strings.Repeat("x", 300), strings.Repeat("x", 100) + "…"},
	} {
		p.call("POST /admin/api-keys/import-from-txt", c.body, "Content-Type", c.kind, "X-Import-Source", c.source)
		if jobs := p.imports(); len(jobs) == 0 || jobs[0].Source != c.want {
			t.Errorf("%q: recorded %+v, want %q", c.source, jobs, c.want)
		}
	}
	var s struct {
		Events []struct{ What, Detail string }
	}
	p.read("GET /admin/api-keys/"+annaKey, &s)
	if len(s.Events) != 1 || s.Events[0].Detail != "by import: accounts november.txt" {
		t.Errorf("the key's story: %+v", s)
	}
}
