package admin

import (
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
}

// Storage is where the data lie.
type Storage struct {
	Engine    string // "sqlite" or "postgres"
	Path      string // the file, "" where there is none
	Bytes     int64  // its size with what belongs to it
	Encrypted bool   // upstream keys are stored encrypted
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
	Name   string        `json:"name"`
	Group  string        `json:"group"`
	Value  *string       `json:"value" description:"null: not set. Secrets are ***."`
	Source config.Source `json:"source" enum:"default,environment,file"`
}

type storageAnswer struct {
	Engine    string `json:"engine"`
	Path      string `json:"path"`
	Bytes     int64  `json:"bytes"`
	Encrypted bool   `json:"encrypted" description:"Upstream keys are stored encrypted."`
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
		Storage: storageAnswer(store), Upstreams: []upstreamAnswer{},
	}
	for _, s := range report.Settings {
		out.Settings = append(out.Settings, settingAnswer{s.Name, s.Group, textOrNull(s.Value), s.Source})
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
