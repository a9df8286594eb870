package admin

import (
	"context"
	"net/http"
	"runtime/debug"
	"time"

	"ollama-api-pool/internal/config"
	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/httpkit"
)

// System is what the API needs of the program as a whole. It may be called
// concurrently.
type System interface {
	// Storage tells where the data lie.
	Storage() Storage
	// Upstreams tells how the upstream services are used, in the order in which
	// they are shown.
	Upstreams() []Upstream
	// Instances lists the instances that work on the store now.
	Instances(ctx context.Context) ([]Instance, error)
}

// Storage is where the data lie, and how what they need stands.
type Storage struct {
	Engine    string // "sqlite", "postgresql" or "postgrest"
	Path      string // the file, "" where there is none
	Host      string // the database's host and name, without credentials; "" for a file
	Local     string // the file beside a database: its mirror, and what waits for it; "" where there is none
	Bytes     int64  // the size of the file with what belongs to it
	Encrypted bool   // upstream keys are stored encrypted

	Outage                  string // why the database is out of reach, "" while it is not
	OutageSince, LastAnswer time.Time
	Spooled                 int      // batches that wait for it
	Redis                   *Redis   // nil: none
	Degraded                []string // what is out of reach, in words; empty: nothing
	Instances               []Instance
}

// Redis is how the Redis stands that instances share.
type Redis struct {
	Address string // without credentials
	Mode    string
	Up      bool
	Since   time.Time // of Up being as it is
	Error   string    // the last one
}

// Upstream is how one upstream service is used.
type Upstream struct {
	Provider gateway.ProviderName
	BaseURL  string
	Enabled  bool
	Breaker  string    // "closed" or "open"
	OpenedAt time.Time // of an open one
	Reason   string    // of an open one: what every account was refused with, "" if nothing answered
}

type settingsAnswer struct {
	Version   string           `json:"version"`
	Build     buildAnswer      `json:"build"`
	StartedAt time.Time        `json:"startedAt"`
	Uptime    int64            `json:"uptime" description:"Seconds."`
	File      string           `json:"file" description:"The settings file; empty: none."`
	Settings  []settingAnswer  `json:"settings"`
	Warnings  []string         `json:"warnings"`
	Storage   storageAnswer    `json:"storage"`
	Upstreams []upstreamAnswer `json:"upstreams"`
}

type buildAnswer struct {
	Go       string `json:"go"`
	Commit   string `json:"commit" description:"Empty where the build does not tell."`
	Time     string `json:"time" description:"Of the commit."`
	Modified bool   `json:"modified" description:"The sources differed from the commit."`
}

type settingAnswer struct {
	Name    string        `json:"name"`
	Group   string        `json:"group"`
	Value   *string       `json:"value" description:"null: not set. Secrets are ***."`
	Source  config.Source `json:"source" enum:"default,environment,file"`
	Default *string       `json:"default" description:"null: none."`
	Unset   string        `json:"unset" description:"What having no value means."`
	Help    string        `json:"help" description:"What it is for; names and values stand between backquotes."`
}

type storageAnswer struct {
	Engine    string           `json:"engine" enum:"sqlite,postgresql,postgrest"`
	Path      string           `json:"path" description:"The file; empty where the data are in a database."`
	Host      string           `json:"host" description:"The database's host and name, without credentials; empty for a file."`
	Local     string           `json:"local" description:"The file beside a database that holds its mirror and what waits for it; empty where there is none."`
	Bytes     int64            `json:"bytes" description:"The size of the file on this machine."`
	Encrypted bool             `json:"encrypted" description:"Upstream keys are stored encrypted."`
	Outage    *outageAnswer    `json:"outage" description:"null while the store is in reach."`
	Spooled   int              `json:"spooledBatches" description:"Batches of counts and states that wait on the local disk for the database."`
	Redis     *redisAnswer     `json:"redis" description:"null where there is none."`
	Degraded  []string         `json:"degraded" description:"What is out of reach, in words; clients are served all the same. Empty: nothing."`
	Instances []instanceAnswer `json:"instances" description:"The instances of which was heard lately."`
}

type outageAnswer struct {
	Reason     string     `json:"reason"`
	Since      time.Time  `json:"since"`
	LastAnswer *time.Time `json:"lastAnswer"`
}

type redisAnswer struct {
	Address string    `json:"address" description:"Without credentials."`
	Mode    string    `json:"mode" enum:"single,sentinel,cluster"`
	Up      bool      `json:"up"`
	Since   time.Time `json:"since" description:"Since when it is up, or down."`
	Error   *string   `json:"error" description:"The last one."`
}

func newStorageAnswer(s *Storage) storageAnswer {
	out := storageAnswer{
		Engine: s.Engine, Path: s.Path, Host: s.Host, Local: s.Local, Bytes: s.Bytes, Encrypted: s.Encrypted,
		Spooled: s.Spooled, Degraded: append([]string{}, s.Degraded...), Instances: newInstanceAnswers(s.Instances),
	}
	if s.Outage != "" {
		out.Outage = &outageAnswer{Reason: s.Outage, Since: s.OutageSince.UTC(), LastAnswer: orNull(s.LastAnswer)}
	}
	if r := s.Redis; r != nil {
		out.Redis = &redisAnswer{Address: r.Address, Mode: r.Mode, Up: r.Up, Since: r.Since.UTC(), Error: textOrNull(r.Error)}
	}
	return out
}

type upstreamAnswer struct {
	Provider gateway.ProviderName `json:"provider"`
	BaseURL  string               `json:"baseUrl"`
	Enabled  bool                 `json:"enabled"`
	Breaker  string               `json:"breaker" enum:"closed,open"`
	OpenedAt *time.Time           `json:"openedAt"`
	Reason   string               `json:"reason" description:"Of an open breaker: what every account was refused with; empty where nothing answered."`
}

var showSettingsDoc = operation{
	summary: "The running configuration", group: "System", answer: settingsAnswer{},
	about: "Every setting with where its value comes from, the storage, the upstreams and the build. It holds no secret.",
}

// showSettings shows what the program runs with.
func (a *API) showSettings(w http.ResponseWriter, _ *http.Request) error {
	report, store := &a.opt.Settings, a.system.Storage()
	out := settingsAnswer{
		Version: a.opt.Version, Build: build(), StartedAt: a.opt.Started.UTC(), Uptime: int64(a.opt.Now().Sub(a.opt.Started) / time.Second),
		File: report.File, Settings: []settingAnswer{}, Warnings: append([]string{}, report.Warnings...),
		Storage: newStorageAnswer(&store), Upstreams: []upstreamAnswer{},
	}
	for _, s := range report.Settings {
		out.Settings = append(out.Settings, settingAnswer{
			s.Name, s.Group, textOrNull(s.Value), s.Source, textOrNull(s.Default), s.Unset, s.Help,
		})
	}
	for _, u := range a.system.Upstreams() {
		out.Upstreams = append(out.Upstreams, upstreamAnswer{
			Provider: u.Provider, BaseURL: config.HidePassword(u.BaseURL), Enabled: u.Enabled,
			Breaker: u.Breaker, OpenedAt: orNull(u.OpenedAt), Reason: u.Reason,
		})
	}
	return httpkit.WriteJSON(w, http.StatusOK, out)
}

// build is what the program knows of how it was built.
func build() buildAnswer {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return buildAnswer{}
	}
	b := buildAnswer{Go: info.GoVersion}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Commit = s.Value
		case "vcs.time":
			b.Time = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	return b
}
