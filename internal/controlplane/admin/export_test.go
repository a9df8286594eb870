package admin_test

import (
	"encoding/csv"
	"strings"
	"testing"
)

func TestExport(t *testing.T) {
	p := start(t)
	odd, nameless := "odd!key!1", "fake-nameless-key-0123456789"
	keys := []string{annaKey, borisKey, odd, nameless}
	p.call("POST /admin/import", `{"accounts":["anna----`+annaKey+`",{"api_key":"`+borisKey+`","username":"=HYPERLINK(1)"},
		{"api_key":"`+odd+`","email":"odd@example.com"},"`+nameless+`"]}`)
	p.call("POST /admin/keys/disable", `{"apiKey":"`+borisKey+`","duration":0}`)
	p.secrets = append(p.secrets, keys...)
	export := "GET /admin/api-keys/export"
	p.wantError(export, "", 401, "authentication_error", "authentication_error", "wrong admin token", "Authorization", "Bearer x")
	p.wantInvalid(export+"?provider=acme&status=tired&format=xml&reveal=2", "",
		`unknown provider "acme": use "ollama" or "openrouter"; reveal must be true or false; status must be all, active, resting, failed, disabled or expired; format must be txt, csv or jsonl`)

	a := p.call(export, "")
	if want := "anna----ollama…wxyz\n=HYPERLINK(1)----ollama…abcd\nodd@example.com----od…\nfake-n…6789\n"; a.status != 200 || a.body != want ||
		a.header.Get("Content-Type") != "text/plain; charset=utf-8" || a.header.Get("Content-Disposition") != `attachment; filename="ollama-keys.txt"` {
		t.Errorf("%d %v\n%s", a.status, a.header, a.body)
	}
	if a := p.call(export+"?status=disabled&format=jsonl", ""); strings.Count(a.body, "\n") != 1 || !strings.Contains(a.body, `"id":"`+id(borisKey)+`"`) ||
		a.header.Get("Content-Type") != "application/jsonl" {
		t.Errorf("JSON lines: %s", a.body)
	}
	if a := p.call(export+"?search=nobody&format=csv", ""); strings.Count(a.body, "\n") != 1 {
		t.Errorf("a table without rows: %s", a.body)
	}
	rows, err := csv.NewReader(strings.NewReader(p.call(export+"?format=csv", "").body)).ReadAll()
	if err != nil || len(rows) != 5 || rows[2][2] != "'=HYPERLINK(1)" || rows[2][3] != "disabled" || rows[2][5] != "manual" || len(rows[0]) != 17 {
		t.Errorf("table: %v, %v", rows, err)
	}
	p.call("GET /admin/api-keys/export?provider=openrouter", "")
	p.wantInvalid(export+"?search=%00", "", "search has a character that cannot be printed")
	if strings.Contains(p.log.String(), "exported whole") {
		t.Error("a masked export was logged as one that is not")
	}

	// What is exported whole can be imported again.
	text := p.send("GET", "/admin/api-keys/export?reveal=true", nil)
	if !strings.Contains(p.log.String(), `did="keys exported whole" count=4`) {
		t.Error("an export of whole keys was not logged")
	}
	other := start(t)
	other.secrets = append(other.secrets, keys...)
	other.want("POST /admin/api-keys/import-from-txt", text.body, 200, `{"total":4,"added":4,"existing":0,"invalid":[],"invalidTotal":0}`, "Content-Type", "text/plain")
	there := other.send("GET", "/admin/api-keys/export?reveal=true", nil)
	if there.body != text.body {
		t.Errorf("exported again:\n%s\nwas\n%s", there.body, text.body)
	}
}

// A body may choose what is exported: by name, or by what the keys are.
func TestExportChosen(t *testing.T) {
	p := start(t)
	p.call("POST /admin/import", `{"accounts":["anna----`+annaKey+`","boris----`+borisKey+`"]}`)
	export := "POST /admin/api-keys/export"
	if a := p.call(export+"?format=csv", `{"apiKeys":["`+id(borisKey)+`","`+id("fake-that-is-not-there")+`"]}`); a.status != 200 ||
		strings.Count(a.body, "\n") != 2 || !strings.Contains(a.body, ",ollama…abcd,boris,") || a.header.Get("Content-Disposition") != `attachment; filename="ollama-keys.csv"` {
		t.Errorf("%d %v\n%s", a.status, a.header, a.body)
	}
	if a := p.call(export, `{"filter":{"search":"anna"},"expect":1}`); a.body != "anna----ollama…wxyz\n" {
		t.Errorf("by a filter: %q", a.body)
	}
	if strings.Contains(p.log.String(), "exported whole") {
		t.Error("a masked export was logged as one that is not")
	}
	p.wantError(export, `{"filter":{"status":"all"},"expect":3}`, 409, "invalid_request_error", "conflict", "the filter chooses 2 keys by now, not 3; nothing was changed")
	p.wantError(export, `{"apiKey":"`+id("fake-that-is-not-there")+`"}`, 404, "invalid_request_error", "not_found", "no such key")
	p.wantInvalid(export+"?format=xml", `{}`, "format must be txt, csv or jsonl; apiKey or apiKeys is missing")
	whole := p.send("POST", "/admin/api-keys/export?reveal=true", strings.NewReader(`{"apiKeys":["`+id(annaKey)+`"]}`))
	if whole.body != "anna----"+annaKey+"\n" || !strings.Contains(p.log.String(), `did="keys exported whole" count=1`) {
		t.Errorf("whole: %q", whole.body)
	}
}

// Whoever gave an operator a list of keys chose them, too.
func TestExportedKeysAreNoFormulas(t *testing.T) {
	p := start(t)
	p.call("POST /admin/api-keys/import", `{"keys":["=HYPERLINK(fake)"]}`)
	for _, query := range []string{"", "&reveal=true"} {
		rows, err := csv.NewReader(strings.NewReader(p.send("GET", "/admin/api-keys/export?format=csv"+query, nil).body)).ReadAll()
		if err != nil || len(rows) != 2 || !strings.HasPrefix(rows[1][1], "'=HYPER") {
			t.Errorf("%v, %v", rows, err)
		}
	}
}
