package admin

import (
	"net/http"
	"time"

	"ollama-api-pool/internal/httpkit"
)

// Instance is a process that works on the store, together with others or alone.
type Instance struct {
	ID        string // unique to one run of the program
	Name      string // of the machine, with the port
	Version   string
	StartedAt time.Time
	SeenAt    time.Time // when it last said that it is there
	Self      bool      // it is the one that answers
}

type instanceAnswer struct {
	ID        string    `json:"id" description:"Unique to one run of the program."`
	Name      string    `json:"name" description:"Of the machine, with the port."`
	Version   string    `json:"version"`
	StartedAt time.Time `json:"started_at"`
	SeenAt    time.Time `json:"seen_at" description:"When it last said that it is there; every five seconds."`
	Self      bool      `json:"self" description:"It is the one that answers."`
}

func newInstanceAnswers(list []Instance) []instanceAnswer {
	out := make([]instanceAnswer, 0, len(list))
	for _, i := range list {
		out = append(out, instanceAnswer{
			ID: i.ID, Name: i.Name, Version: i.Version, StartedAt: i.StartedAt.UTC(), SeenAt: i.SeenAt.UTC(), Self: i.Self,
		})
	}
	return out
}

type instancesAnswer struct {
	Instances []instanceAnswer `json:"instances"`
}

var listInstancesDoc = operation{
	summary: "The instances that work on the store", group: "System", answer: instancesAnswer{},
	about: "Those that said so within the last 20 seconds. One that keeps its data in a file is alone.",
}

// listInstances shows who works on the store.
func (a *API) listInstances(w http.ResponseWriter, r *http.Request) error {
	list, err := a.system.Instances(r.Context())
	if err != nil {
		return err
	}
	return httpkit.WriteJSON(w, http.StatusOK, instancesAnswer{newInstanceAnswers(list)})
}
