package selftest

import (
	"cmp"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// model is an entry of a model list, as far as it helps to choose one.
type model struct {
	ID           string `json:"id"`
	Architecture struct {
		Output []string `json:"output_modalities"`
	} `json:"architecture"` // OpenRouter
	Pricing struct {
		Prompt     string `json:"prompt"` // dollars a token
		Completion string `json:"completion"`
	} `json:"pricing"` // OpenRouter

	size int64 // bytes, from Ollama's own list; 0: unknown
}

// price is what a token costs going in and one coming out, together; nothing
// where the list names no price.
func (m *model) price() float64 {
	in, _ := strconv.ParseFloat(m.Pricing.Prompt, 64)
	out, _ := strconv.ParseFloat(m.Pricing.Completion, 64)
	return in + out
}

// chats reports whether the model can be expected to answer in words. A list
// of Ollama's does not say it, but the name of a model for vectors does.
// OpenRouter's entries that choose another model have a price below nothing.
func (m *model) chats() bool {
	id := strings.ToLower(m.ID)
	return id != "" && !strings.Contains(id, "embed") && !strings.Contains(id, "rerank") && m.price() >= 0 &&
		(len(m.Architecture.Output) == 0 || slices.Equal(m.Architecture.Output, []string{"text"}))
}

// parameters finds the number of parameters in a model's name, such as 20b,
// 1t or 270m. Of several it is the largest: the others are active ones.
func (m *model) parameters() float64 {
	most := 0.0
	for _, part := range strings.FieldsFunc(strings.ToLower(m.ID), func(c rune) bool { return strings.ContainsRune(":-_/@ ", c) }) {
		if found := sizeInName.FindStringSubmatch(part); found != nil {
			n, _ := strconv.ParseFloat(found[1], 64)
			most = max(most, n*map[string]float64{"m": 1e6, "b": 1e9, "t": 1e12}[found[2]])
		}
	}
	return most
}

var sizeInName = regexp.MustCompile(`^(\d{1,6}(?:\.\d{1,3})?)([mbt])$`)

// cheapest puts the models that can chat into the order in which a test tries
// them: the cheapest first, of those the smallest, by its bytes where they are
// known, else by the parameters in its name.
func cheapest(all []model) []string {
	chat := slices.DeleteFunc(slices.Clone(all), func(m model) bool { return !m.chats() })
	known := func(n float64) float64 { // what is not known may be large
		if n == 0 {
			return math.Inf(1)
		}
		return n
	}
	slices.SortFunc(chat, func(a, b model) int {
		return cmp.Or(
			cmp.Compare(a.price(), b.price()),
			cmp.Compare(known(float64(a.size)), known(float64(b.size))),
			cmp.Compare(known(a.parameters()), known(b.parameters())),
			cmp.Compare(a.ID, b.ID),
		)
	})
	ids := make([]string, len(chat))
	for i, m := range chat {
		ids[i] = m.ID
	}
	return ids
}
