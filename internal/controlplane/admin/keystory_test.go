package admin_test

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// story is what an answer tells of a key.
type story struct {
	Status    string
	Why       string
	ReturnsAt *time.Time `json:"returns_at"`
	ByItself  bool       `json:"by_itself"`
	Account   *struct {
		Username      string
		Keys, Resting int
	}
	Total  int `json:"total_requests"`
	Hours  []struct{ Total, Success, Failure int }
	Events []struct {
		What, Detail, Model string
		Until               *time.Time
		RequestID           string `json:"request_id"`
		Attempt             int
	}
}

func (p *pool) story(key string) story {
	p.Helper()
	var s story
	p.read("GET /admin/api-keys/"+id(key), &s)
	return s
}

// happened is a story's events in short, the newest first.
func (s *story) happened() string {
	var all []string
	for _, e := range s.Events {
		all = append(all, e.What)
	}
	return strings.Join(all, ", ")
}

func TestStories(t *testing.T) {
	p, client := threeKeys(t)
	p.wantError("GET /admin/api-keys/"+id(annaKey), "", 401, "authentication_error", "authentication_error", "wrong admin token", "Authorization", "Bearer x")
	p.call("POST /admin/api-keys", `{"api_key":"fake-second-key-of-boris-00","username":"Boris"}`)
	p.call("POST /admin/keys/disable", `{"apiKey":"fake-second-key-of-boris-00"}`) // it is not to serve here
	p.chat(client, 4)

	anna, boris, carl := p.story(annaKey), p.story(borisKey), p.story(shortKey)
	if anna.Status != "active" || anna.Why != "It serves." || anna.ReturnsAt != nil || !anna.ByItself ||
		anna.Total != 4 || len(anna.Hours) != 24 || anna.Hours[23].Total+anna.Hours[22].Total != 4 || anna.happened() != "added" {
		t.Errorf("anna: %+v", anna)
	}
	if boris.Status != "resting" || boris.ReturnsAt == nil || !boris.ByItself || boris.happened() != "rested, added" ||
		boris.Account == nil || boris.Account.Username != "boris" || boris.Account.Keys != 2 ||
		boris.Why != "It is out of quota (quota: hourly) and rests; it returns by itself at "+boris.ReturnsAt.Format(time.RFC3339)+"." {
		t.Errorf("boris: %+v", boris)
	}
	if e := boris.Events[0]; e.RequestID == "" || e.Attempt < 1 || e.Until == nil || !e.Until.Equal(*boris.ReturnsAt) || e.Detail != "quota: hourly" {
		t.Errorf("boris rests: %+v", e)
	}
	if carl.Status != "disabled" || carl.ReturnsAt == nil || carl.happened() != "refused, added" ||
		!strings.HasPrefix(carl.Why, "It was refused 1 times in a row (") || carl.Hours[23].Failure+carl.Hours[22].Failure != 1 {
		t.Errorf("carl: %+v", carl)
	}
	if added := anna.Events[0]; added.Detail != "by import: pasted, 3 lines" {
		t.Errorf("anna was added %q", added.Detail)
	}

	p.call("POST /admin/keys/clear-rest", `{"apiKey":"`+borisKey+`"}`)
	p.call("POST /admin/keys/disable", `{"apiKey":"`+borisKey+`","duration":0}`)
	boris = p.story(borisKey)
	if boris.Status != "disabled" || boris.ReturnsAt != nil || boris.ByItself || boris.happened() != "disabled, cleared, rested, added" {
		t.Errorf("boris, disabled: %+v", boris)
	}
	p.call("POST /admin/keys/enable", `{"apiKey":"`+borisKey+`"}`)
	if boris = p.story(borisKey); boris.Status != "active" || boris.happened() != "enabled, disabled, cleared, rested, added" {
		t.Errorf("boris, enabled: %+v", boris)
	}
	if boris.Events[0].Detail != "by an operator" {
		t.Errorf("enabled: %+v", boris.Events[0])
	}
	if single := p.story("fake-second-key-of-boris-00"); single.Events[len(single.Events)-1].Detail != "" {
		t.Errorf("a key of no import: %+v", single.Events)
	}
	if got := fmt.Sprint(anna.Account); got == "<nil>" {
		t.Error("anna has no account")
	}
}
