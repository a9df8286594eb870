package cache

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"ollama-api-pool/internal/gateway"
)

// modelList is a list of models in OpenAI's form.
type modelList struct {
	whole   []byte       // the whole answer
	entries []modelEntry // in its order
}

// modelEntry is one entry of a list, as it is sent.
type modelEntry struct {
	id   string
	json json.RawMessage
}

// find gives the entry of a model, nil where there is none.
func (l *modelList) find(id string) json.RawMessage {
	for i := range l.entries {
		if l.entries[i].id == id {
			return l.entries[i].json
		}
	}
	return nil
}

// entry is a model in OpenAI's form (contract, section 1). What else an
// upstream tells of a model stays with it.
func entry(id string, created int64, owner string, more map[string]json.RawMessage) map[string]any {
	e := map[string]any{}
	for k, v := range more {
		e[k] = v
	}
	for k, v := range map[string]any{
		"object": "model", "created": created, "owned_by": owner, "permission": []string{}, "root": id, "parent": nil,
	} {
		if _, ok := e[k]; !ok {
			e[k] = v
		}
	}
	e["id"] = id
	return e
}

// errNoList says that an answer holds no list.
var errNoList = errors.New("there is no list in it")

// readTags reads Ollama's list (https://docs.ollama.com/api/tags).
func readTags(body []byte) ([]map[string]any, error) {
	var tags struct {
		Models *[]struct {
			Name       string          `json:"name"`
			Model      string          `json:"model"`
			ModifiedAt json.RawMessage `json:"modified_at"`
		} `json:"models"`
	}
	if err := json.Unmarshal(body, &tags); err != nil {
		return nil, err
	}
	if tags.Models == nil {
		return nil, errNoList
	}
	out := make([]map[string]any, 0, len(*tags.Models))
	for _, t := range *tags.Models {
		id := cmp.Or(t.Name, t.Model)
		if id == "" {
			continue
		}
		var modified time.Time // without one it is long ago
		_ = json.Unmarshal(t.ModifiedAt, &modified)
		out = append(out, entry(id, max(modified.Unix(), 0), "ollama", nil))
	}
	return out, nil
}

// readModels reads a list that is in OpenAI's form already.
func readModels(body []byte) ([]map[string]any, error) {
	var list struct {
		Data *[]map[string]json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(body, &list); err != nil {
		return nil, err
	}
	if list.Data == nil {
		return nil, errNoList
	}
	out := make([]map[string]any, 0, len(*list.Data))
	for _, m := range *list.Data {
		var id string
		if json.Unmarshal(m["id"], &id) != nil || id == "" {
			continue
		}
		out = append(out, entry(id, 0, "openrouter", m))
	}
	return out, nil
}

// worthKeeping reports whether a page is a good answer to whoever asks next:
// no error, and something that can be read. That the upstream does not know
// what is answered here is worth knowing too.
func (p *page) worthKeeping(key listKey) bool {
	if localPath(key.path) {
		return p.status == http.StatusNotFound || p.isJSON()
	}
	if p.status != http.StatusOK {
		return false
	}
	_, err := p.list(key.provider)
	return err == nil
}

// isJSON reports whether the upstream knew what it was asked: a web page with
// status 200 is no version.
func (p *page) isJSON() bool {
	return p.status == http.StatusOK && json.Valid(p.body)
}

// list makes OpenAI's form of a page, once.
func (p *page) list(name gateway.ProviderName) (*modelList, error) {
	p.once.Do(func() {
		read := readModels
		if name == gateway.Ollama {
			read = readTags
		}
		entries, err := read(p.body)
		if err != nil {
			p.err = &gateway.Error{Kind: gateway.KindUpstream, Message: fmt.Sprintf("the model list of %s could not be read", name), Cause: err}
			return
		}
		l := &modelList{entries: make([]modelEntry, len(entries))}
		for i, e := range entries {
			l.entries[i].id, _ = e["id"].(string)
			l.entries[i].json, _ = json.Marshal(e)
			p.size.Add(int64(len(l.entries[i].json)))
		}
		l.whole, p.err = json.Marshal(map[string]any{"object": "list", "data": entries})
		p.size.Add(int64(len(l.whole)))
		p.models = l
	})
	return p.models, p.err
}

func (p *page) writeList(w http.ResponseWriter, x *gateway.Exchange) error {
	if p.status != http.StatusOK {
		return p.writeRaw(w, x)
	}
	l, err := p.list(x.Route.Provider)
	if err != nil {
		return err
	}
	if limits := limitsOn(x); limits != nil {
		body, err := l.allowed(limits)
		if err != nil {
			return err
		}
		return writeJSON(w, x, body)
	}
	return writeJSON(w, x, l.whole)
}

func (p *page) writeModel(w http.ResponseWriter, x *gateway.Exchange) error {
	if p.status != http.StatusOK {
		return p.writeRaw(w, x)
	}
	l, err := p.list(x.Route.Provider)
	if err != nil {
		return err
	}
	e := l.find(x.Route.Model)
	if limits := limitsOn(x); e == nil || limits != nil && !limits.AllowsModel(x.Route.Model) {
		return gateway.Errorf(gateway.KindNotFound, "model %q is not in the list of %s", gateway.Clip(x.Route.Model, 200), x.Route.Provider)
	}
	return writeJSON(w, x, e)
}

// writeTags passes Ollama's list on as it came, or what a limited token may see
// of it.
func (p *page) writeTags(w http.ResponseWriter, x *gateway.Exchange) error {
	limits := limitsOn(x)
	if limits == nil || p.status != http.StatusOK {
		return p.writeRaw(w, x)
	}
	body, err := allowedTags(p.body, limits)
	if err != nil {
		return &gateway.Error{Kind: gateway.KindUpstream, Message: fmt.Sprintf("the model list of %s could not be read", x.Route.Provider), Cause: err}
	}
	return writeJSON(w, x, body)
}

// writeRaw passes the upstream's answer on as it came.
func (p *page) writeRaw(w http.ResponseWriter, x *gateway.Exchange) error {
	h := w.Header()
	for name, values := range p.header {
		h[name] = values
	}
	x.Record.Status = p.status
	w.WriteHeader(p.status)
	_, err := w.Write(p.body)
	return err
}

// localVersion is the version told to clients when the upstream tells none:
// Ollama's own tools compare it with what they need.
const localVersion = "0.17.4"

const runningPath = "/api/ps"

func localPath(path string) bool { return path == runningPath || path == "/api/version" }

// writeLocal passes on what the upstream knows and makes up for what it does not.
func (p *page) writeLocal(w http.ResponseWriter, x *gateway.Exchange) error {
	switch {
	case p.isJSON() && x.Route.Path == runningPath:
		return p.writeTags(w, x)
	case p.isJSON():
		return p.writeRaw(w, x)
	case x.Route.Path == runningPath:
		return writeJSON(w, x, []byte(`{"models":[]}`))
	}
	return writeJSON(w, x, []byte(`{"version":"`+localVersion+`"}`))
}

func writeJSON(w http.ResponseWriter, x *gateway.Exchange, body []byte) error {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	x.Record.Status = http.StatusOK
	w.WriteHeader(http.StatusOK)
	_, err := w.Write(body)
	return err
}
