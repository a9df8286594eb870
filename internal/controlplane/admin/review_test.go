package admin_test

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

// concern is what needs attention.
type concern struct {
	Kind, Reason string
	Keys         int
	Since        *time.Time
	Filter       *struct{ Provider, Status, Reason string }
}

// What the overview says needs attention can be shown, exported and mended with
// the filter that it gives.
func TestReviewOfAttention(t *testing.T) {
	p, client := threeKeys(t)
	p.chat(client, 4)
	other := "fake-key-of-the-review-0123"
	p.plant(other)
	p.want("POST /admin/api-keys", `{"apiKey":"`+other+`"}`, 200, `{"success":true,"message":"Added","id":"`+id(other)+`"}`)
	p.want("POST /admin/keys/disable", `{"apiKey":"`+other+`","duration":0}`, 200, `{"success":true,"message":"Key disabled"}`)

	var o struct{ Attention []concern }
	p.read("GET /admin/overview", &o)
	i := slices.IndexFunc(o.Attention, func(c concern) bool { return c.Kind == "keys_refused" })
	if i < 0 {
		t.Fatalf("%+v", o.Attention)
	}
	one := o.Attention[i]
	if one.Keys != 1 || one.Since == nil || time.Since(*one.Since) > time.Minute || time.Since(*one.Since) < 0 || one.Filter == nil || one.Filter.Status != "disabled" {
		t.Fatalf("%+v", one)
	}
	query := "provider=" + one.Filter.Provider + "&status=" + one.Filter.Status + "&reason=" + url.QueryEscape(one.Filter.Reason)
	if names, total := p.usernames(query); total != 1 || fmt.Sprint(names) != "[carl]" {
		t.Errorf("%s: %v of %d", query, names, total)
	}
	if _, total := p.usernames("status=disabled"); total != 2 {
		t.Errorf("%d keys are disabled", total)
	}
	if _, total := p.usernames("reason=401"); total != 0 {
		t.Errorf("a part of a reason finds %d keys", total)
	}
	if a := p.call("GET /admin/keys/stats?"+query, ""); !strings.Contains(a.body, `"total":1,`) {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := p.call("GET /admin/api-keys/export?format=jsonl&"+query, ""); strings.Count(a.body, "\n") != 1 || !strings.Contains(a.body, `"username":"carl"`) {
		t.Errorf("%d %s", a.status, a.body)
	}
	p.wantInvalid("GET /admin/api-keys?reason=%00", "", "reason has a character that cannot be printed")
	p.wantInvalid("POST /admin/keys/enable", `{"filter":{"reason":" "}}`, `filter says nothing: {"status":"all"} chooses every key`)
	p.want("POST /admin/keys/enable", `{"filter":{"reason":"`+one.Filter.Reason+`"},"expect":1}`, 200,
		`{"success":true,"message":"1 of 1 keys enabled","changed":1,"failed":0,"total":1}`)
	if _, total := p.usernames(query); total != 0 {
		t.Errorf("%d are left", total)
	}
}

func TestCategories(t *testing.T) {
	p := startWith(t, knows(t, nil))
	list := "GET /admin/api-keys/categories"
	p.wantError(list, "", 401, "authentication_error", "authentication_error", "wrong admin token", "Authorization", "Bearer x")
	p.wantInvalid(list+"?provider=acme", "", `unknown provider "acme": use "ollama" or "openrouter"`)
	p.want(list, "", 200, `{"categories":[],"unknown":0}`)
	p.add("good", 3)
	p.add("odd", 2)
	p.want(list, "", 200, `{"categories":[],"unknown":5}`)
	p.call("POST /admin/keys/health-check", "")
	p.want(list+"?provider=ollama", "", 200, `{"categories":[{"category":"kimi","keys":3}],"unknown":2}`)
	if a := p.call("POST /admin/api-keys/import-from-txt?provider=openrouter", "fake-good-key-000900", "Content-Type", "text/plain"); a.status != 200 {
		t.Fatal(a.body)
	}
	p.plant("fake-good-key-000900")
	p.call("POST /admin/keys/health-check", `{"provider":"openrouter"}`)
	p.want(list+"?provider=openrouter", "", 200, `{"categories":[{"category":"deepseek","keys":1}],"unknown":0}`)
	if _, total := p.usernames("category=kimi"); total != 3 {
		t.Errorf("%d keys", total)
	}
}
