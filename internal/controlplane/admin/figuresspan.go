package admin

import (
	"cmp"
	"net/http"
	"sort"
	"strings"
	"time"

	"ollama-api-pool/internal/gateway"
)

// span is the stretch of time that figures are about, cut into the points of a
// chart. Its end is now, so that the last point is still growing.
type span struct {
	name   string
	loc    *time.Location
	now    time.Time
	starts []time.Time    // of the points, oldest first, UTC
	before time.Time      // where the stretch before, of equal length, begins
	per    gateway.Period // of the records that make the points
	step   string         // what a point is, in a word
	layout string         // of the labels
}

const (
	oneHour    = "1h"
	oneDay     = "24h"
	sevenDays  = "7d"
	thirtyDays = "30d"
)

// ranges are the words for spans.
var ranges = []string{oneHour, oneDay, sevenDays, thirtyDays}

// maxZone bounds the name of a time zone.
const maxZone = 64

// span reads the range and the time zone of a call.
func (f *faults) span(r *http.Request, now time.Time) span {
	name := cmp.Or(r.URL.Query().Get("range"), oneDay)
	loc := f.zone(r)
	s, ok := newSpan(name, loc, now)
	if !ok {
		f.add("range", "must be one of %s", strings.Join(ranges, ", "))
	}
	return s
}

// zone reads the time zone for labels. The server's own has no name here: it
// would tell where the server stands.
func (f *faults) zone(r *http.Request) *time.Location {
	name := r.URL.Query().Get("tz")
	switch {
	case name == "" || name == "UTC":
		return time.UTC
	case len(name) <= maxZone && name != "Local":
		if loc, err := time.LoadLocation(name); err == nil {
			return loc
		}
	}
	f.add("tz", "must be the name of a time zone, such as Europe/Berlin or Asia/Shanghai")
	return time.UTC
}

// newSpan cuts a range into points. Minutes and hours are those of UTC, which
// is how they are counted: where the zone is off by half an hour, so are the
// labels. Days are those of the zone.
func newSpan(name string, loc *time.Location, now time.Time) (span, bool) {
	s := span{name: name, loc: loc, now: now.UTC()}
	switch name {
	case oneHour:
		s.per, s.step, s.layout = gateway.PerMinute, "minute", "15:04"
		s.cut(60, time.Minute)
	case oneDay:
		s.per, s.step, s.layout = gateway.PerHour, "hour", "15:04"
		s.cut(24, time.Hour)
	case sevenDays:
		s.per, s.step, s.layout = gateway.PerHour, "hour", "01-02 15:04"
		s.cut(7*24, time.Hour)
	case thirtyDays:
		s.per, s.step, s.layout = gateway.PerHour, "day", "01-02"
		s.cutDays(30)
		if loc == time.UTC {
			s.per = gateway.PerDay
		}
	default:
		return s, false
	}
	return s, true
}

func (s *span) cut(points int, step time.Duration) {
	last := s.now.Truncate(step)
	for i := points - 1; i >= 0; i-- {
		s.starts = append(s.starts, last.Add(-time.Duration(i)*step))
	}
	s.before = s.starts[0].Add(-time.Duration(points) * step)
}

func (s *span) cutDays(days int) {
	y, m, d := s.now.In(s.loc).Date()
	for i := days - 1; i >= 0; i-- {
		s.starts = append(s.starts, time.Date(y, m, d-i, 0, 0, 0, 0, s.loc).UTC())
	}
	s.before = time.Date(y, m, d-2*days+1, 0, 0, 0, 0, s.loc).UTC()
}

// from is where the span begins.
func (s *span) from() time.Time { return s.starts[0] }

// at finds the point to which a time belongs, -1 for what was before.
func (s *span) at(t time.Time) int {
	return sort.Search(len(s.starts), func(i int) bool { return s.starts[i].After(t) }) - 1
}

// label is how a point is called in the zone.
func (s *span) label(point int) string {
	t := s.starts[point].In(s.loc)
	if s.step == "day" {
		t = t.Add(12 * time.Hour) // where the clocks change at midnight a day begins elsewhere
	}
	return t.Format(s.layout)
}

// reading is which records to add up.
type reading struct {
	per          gateway.Period
	since, until time.Time // zero until: now
}

// reads tells which records add up to the span: whole days where it has some,
// hours at its beginning. Tokens are not counted by the minute; of them the last
// hour is the full hours that it touches.
func (s *span) reads(of gateway.Subject) []reading {
	switch s.name {
	case oneHour:
		if of == gateway.OfToken {
			return []reading{{per: gateway.PerHour, since: s.from().Truncate(time.Hour)}}
		}
		return []reading{{per: gateway.PerMinute, since: s.from()}}
	case oneDay:
		return []reading{{per: gateway.PerHour, since: s.from()}}
	}
	const day = 24 * time.Hour
	midnight := s.from().Truncate(day)
	if midnight.Equal(s.from()) {
		return []reading{{per: gateway.PerDay, since: midnight}}
	}
	midnight = midnight.Add(day)
	return []reading{{gateway.PerHour, s.from(), midnight}, {per: gateway.PerDay, since: midnight}}
}

// rangeAnswer says what the figures are about.
type rangeAnswer struct {
	Name string    `json:"name" enum:"1h,24h,7d,30d"`
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
	Step string    `json:"step" enum:"minute,hour,day" description:"What a point of a series is."`
	TZ   string    `json:"tz" description:"The time zone of the labels, and of days."`
}

func (s *span) answer() rangeAnswer {
	return rangeAnswer{Name: s.name, From: s.from(), To: s.now, Step: s.step, TZ: s.loc.String()}
}

// rangeQuery is the query of calls that are about a range.
type rangeQuery struct {
	Provider string `query:"provider" enum:"all,ollama,openrouter" default:"all"`
	Range    string `query:"range" enum:"1h,24h,7d,30d" default:"24h"`
	TZ       string `query:"tz" default:"UTC" description:"Time zone of the labels and of days, by its IANA name, such as Asia/Shanghai."`
}

// pointAnswer is a point of a chart.
type pointAnswer struct {
	At       time.Time `json:"at" description:"When it begins."`
	Label    string    `json:"label" description:"The same in the time zone: HH:MM, MM-DD HH:MM, or MM-DD."`
	Requests int64     `json:"requests"`
	Success  int64     `json:"success"`
	Failure  int64     `json:"failure"`
}

// chart is the points of a span, with what was counted in the stretch before.
type chart struct {
	points []pointAnswer
	past   float64 // requests in the stretch before, up to the same part of its last point
}

// newChart makes a point of every part of the span, with zeros.
func newChart(s *span) chart {
	c := chart{points: make([]pointAnswer, len(s.starts))}
	for i := range c.points {
		c.points[i].At, c.points[i].Label = s.starts[i], s.label(i)
	}
	return c
}

// add takes in one record. The last point has only begun, so of the last one of
// the stretch before the same part counts.
func (c *chart) add(s *span, p *gateway.TallyPoint) {
	if i := s.at(p.At); i >= 0 {
		c.points[i].Requests += p.Tally.Requests
		c.points[i].Success += p.Tally.Success
		c.points[i].Failure += p.Tally.Failure
		return
	}
	n := len(s.starts)
	part := 1.0
	last := s.starts[n-1]
	if length := s.from().Sub(s.beforeLast()); !p.At.Before(s.beforeLast()) && length > 0 {
		part = min(float64(s.now.Sub(last))/float64(length), 1)
	}
	c.past += part * float64(p.Tally.Requests)
}

// beforeLast is where the last point of the stretch before begins.
func (s *span) beforeLast() time.Time {
	if s.step == "day" {
		y, m, d := s.from().In(s.loc).Date()
		return time.Date(y, m, d-1, 0, 0, 0, 0, s.loc).UTC()
	}
	return s.from().Add(-s.starts[1].Sub(s.starts[0]))
}

// change is by how many percent there are more requests than in the stretch
// before; nil where there were none.
func (c *chart) change() *float64 {
	if c.past == 0 {
		return nil
	}
	var now int64
	for _, p := range c.points {
		now += p.Requests
	}
	up := percent(int64((float64(now)-c.past)*100), int64(c.past*100))
	return &up
}
