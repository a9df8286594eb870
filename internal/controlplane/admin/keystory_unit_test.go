package admin

import (
	"fmt"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
)

var noon = time.Date(2027, 1, 15, 12, 0, 0, 0, time.UTC)

func TestWhy(t *testing.T) {
	hour := noon.Add(time.Hour)
	for name, c := range map[string]struct {
		key      gateway.Key
		refused  int
		why      string
		back     time.Time
		byItself bool
	}{
		"serves":      {gateway.Key{}, 0, "It serves.", time.Time{}, true},
		"one model":   {gateway.Key{}, 1, "It serves, but for one model that it may not use.", time.Time{}, true},
		"two models":  {gateway.Key{}, 2, "It serves, but for 2 models that it may not use.", time.Time{}, true},
		"former mark": {gateway.Key{State: gateway.KeyState{FailedUntil: noon, LastError: "401"}}, 0, "It serves.", time.Time{}, true},
		"rests": {
			gateway.Key{State: gateway.KeyState{RestsUntil: hour, LastError: "quota: hourly"}},
			0,
			"It is out of quota (quota: hourly) and rests; it returns by itself at 2027-01-15T13:00:00Z.", hour, true,
		},
		"rests, fails for longer": {
			gateway.Key{State: gateway.KeyState{RestsUntil: noon.Add(time.Minute), FailedUntil: hour}},
			0,
			"The upstream refused it; it returns by itself at 2027-01-15T13:00:00Z.", hour, true,
		},
		"fails, rests for longer": {
			gateway.Key{State: gateway.KeyState{RestsUntil: hour, FailedUntil: noon.Add(time.Minute), LastError: "401"}},
			0,
			"The upstream refused it (401); it returns by itself at 2027-01-15T13:00:00Z.", hour, true,
		},
		"disabled by failures": {
			gateway.Key{State: gateway.KeyState{Disabled: gateway.DisabledAuto, DisabledUntil: hour, ConsecutiveFailures: 3, LastError: "401"}},
			0,
			"It was refused 3 times in a row (401) and is disabled; it returns by itself at 2027-01-15T13:00:00Z.", hour, true,
		},
		"disabled by hand": {
			gateway.Key{State: gateway.KeyState{Disabled: gateway.DisabledManual, DisabledUntil: hour}},
			0,
			"An operator disabled it; it returns by itself at 2027-01-15T13:00:00Z.", hour, true,
		},
		"disabled until enabled": {
			gateway.Key{State: gateway.KeyState{Disabled: gateway.DisabledManual}},
			0,
			"An operator disabled it; it returns when somebody enables it.",
			time.Time{},
			false,
		},
		"expired": {
			gateway.Key{ExpiresAt: noon, State: gateway.KeyState{RestsUntil: hour}},
			0,
			"Its time to live ended at 2027-01-15T12:00:00Z; it does not return.",
			time.Time{},
			false,
		},
		"expires before it returns": {
			gateway.Key{ExpiresAt: hour, State: gateway.KeyState{RestsUntil: hour, LastError: "quota"}},
			0,
			"It is out of quota (quota) and rests; it does not return, as its time to live ends first.",
			time.Time{},
			false,
		},
	} {
		back, byItself := returnOf(&c.key, noon)
		if got := why(&c.key, noon, back, c.refused); got != c.why || !back.Equal(c.back) || byItself != c.byItself {
			t.Errorf("%s: %s (%v, %v)", name, got, back, byItself)
		}
	}
}

func TestReturned(t *testing.T) {
	at := func(minutes int) time.Time { return noon.Add(time.Duration(minutes) * time.Minute) }
	event := func(minute int, what gateway.KeyEventKind, until int) gateway.KeyEvent {
		e := gateway.KeyEvent{At: at(minute), What: what, Detail: fmt.Sprint(what)}
		if until != 0 {
			e.Until = at(until)
		}
		return e
	}
	const rested, refused = gateway.EventRested, gateway.EventRefused
	for name, c := range map[string]struct {
		events []gateway.KeyEvent // the newest last
		want   string             // minutes of the returns
	}{
		"nothing":                       {nil, "[]"},
		"a rest that is over":           {[]gateway.KeyEvent{event(0, rested, 10)}, "[10]"},
		"a rest that lasts":             {[]gateway.KeyEvent{event(0, rested, 999)}, "[]"},
		"two rests":                     {[]gateway.KeyEvent{event(0, rested, 10), event(20, rested, 30)}, "[10 30]"},
		"a rest that was made longer":   {[]gateway.KeyEvent{event(0, rested, 10), event(5, rested, 30)}, "[30]"},
		"a shorter mark within":         {[]gateway.KeyEvent{event(0, rested, 30), event(5, refused, 10)}, "[30]"},
		"cleared":                       {[]gateway.KeyEvent{event(0, rested, 30), event(5, gateway.EventCleared, 0)}, "[]"},
		"cleared, but refused":          {[]gateway.KeyEvent{event(0, refused, 30), event(5, gateway.EventCleared, 0)}, "[30]"},
		"found good":                    {[]gateway.KeyEvent{event(0, refused, 30), event(5, gateway.EventCheckedOK, 0)}, "[]"},
		"found good, but rests":         {[]gateway.KeyEvent{event(0, rested, 30), event(5, gateway.EventCheckedOK, 0)}, "[30]"},
		"enabled":                       {[]gateway.KeyEvent{event(0, refused, 30), event(5, gateway.EventEnabled, 0)}, "[]"},
		"cleared when it was over":      {[]gateway.KeyEvent{event(0, rested, 3), event(5, gateway.EventCleared, 0)}, "[3]"},
		"disabled for a time":           {[]gateway.KeyEvent{event(0, gateway.EventDisabled, 30)}, "[30]"},
		"disabled while it rested":      {[]gateway.KeyEvent{event(0, rested, 60), event(5, gateway.EventDisabled, 30)}, "[30]"},
		"disabled until enabled":        {[]gateway.KeyEvent{event(0, rested, 30), event(5, gateway.EventDisabled, 0)}, "[]"},
		"passed over for a model":       {[]gateway.KeyEvent{event(0, gateway.EventPassed, 30)}, "[]"},
		"passed over, while it rested":  {[]gateway.KeyEvent{event(0, rested, 30), event(5, gateway.EventPassed, 10)}, "[30]"},
		"a refusal without a known end": {[]gateway.KeyEvent{event(0, refused, 0)}, "[]"},
	} {
		newestFirst := make([]gateway.KeyEvent, 0, len(c.events))
		for i := len(c.events) - 1; i >= 0; i-- {
			newestFirst = append(newestFirst, c.events[i])
		}
		minutes := []int{}
		for _, e := range returned(newestFirst, at(120)) {
			if e.What != gateway.EventReturned || e.Detail == "" {
				t.Errorf("%s: %+v", name, e)
			}
			minutes = append(minutes, int(e.At.Sub(noon)/time.Minute))
		}
		if got := fmt.Sprint(minutes); got != c.want {
			t.Errorf("%s: returned after %s minutes, want %s", name, got, c.want)
		}
	}
}
