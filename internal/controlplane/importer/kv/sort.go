package kv

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"unicode"

	"ollama-api-pool/internal/gateway"
)

// Reasons why a pair is not taken.
const (
	reasonUnknown   = "not understood"
	reasonNoValue   = "it has no value: export the values as well"
	reasonNoKey     = "says something about a key that is not in the export"
	reasonBadKey    = "what should be a key cannot be one"
	reasonAmbiguous = "counters of which it is not clear whose they are"
)

// sorter finds out what pairs are.
type sorter struct {
	o       Options
	out     Export
	keys    map[gateway.ProviderName]map[gateway.Secret]*found
	tokens  map[string]*gateway.Token // by hash
	unknown map[Pattern]int           // with no Pairs
}

// found is a key, or what is said about one.
type found struct {
	key     gateway.Key
	is      bool   // the key itself was there
	pattern string // of the first pair that spoke of it
}

func newSorter(o Options) *sorter {
	s := &sorter{o: o, keys: map[gateway.ProviderName]map[gateway.Secret]*found{}, tokens: map[string]*gateway.Token{}, unknown: map[Pattern]int{}}
	s.out.Totals = map[gateway.ProviderName]Counts{}
	s.out.Models = map[gateway.ProviderName]map[string]Counts{}
	for _, p := range gateway.Providers() {
		s.keys[p] = map[gateway.Secret]*found{}
		s.out.Models[p] = map[string]Counts{}
	}
	return s
}

// hints are what the name of a pair says about it.
type hints struct {
	name                      string
	provider                  gateway.ProviderName
	words                     map[string]bool // of all parts but the last
	all                       map[string]bool
	last                      string // behind the last separator, the whole name where there is none
	parted                    bool
	key, token, stats, global bool
	model                     bool
}

func (s *sorter) hintsOf(name string) hints {
	h := hints{name: name, provider: s.o.Provider, words: map[string]bool{}, all: map[string]bool{}, last: name}
	front := ""
	end := len(name)
	if i := strings.LastIndex(name, "sha256:"); i > 0 && gateway.IsTokenHash(name[i:]) {
		end = i
	}
	if i := strings.LastIndexAny(name[:end], ":/|"); i >= 0 {
		front, h.last, h.parted = name[:i], name[i+1:], true
	}
	for _, w := range wordsOf(front) {
		h.words[w], h.all[w] = true, true
	}
	for _, w := range wordsOf(h.last) {
		h.all[w] = true
	}
	known := h.words
	if !h.parted {
		known = h.all
	}
	is := func(words ...string) bool {
		return slices.ContainsFunc(words, func(w string) bool { return known[w] })
	}
	h.token = is("token", "tokens", "client", "clients")
	h.stats = is("stat", "stats", "statistics", "count", "counts", "counter", "usage", "metrics")
	h.key = !h.token && is("key", "keys", "apikey", "apikeys", "account", "accounts", "health", "status")
	h.global = h.all["global"] || h.all["total"] || h.all["totals"]
	h.model = is("model", "models") || len(wordsOf(h.last)) <= 2 && (h.all["models"] || h.all["model"])
	switch {
	case is("openrouter", "or"):
		h.provider = gateway.OpenRouter
	case is("ollama"):
		h.provider = gateway.Ollama
	}
	return h
}

// wordsOf takes a name apart: at signs, and where a small letter meets a large one.
func wordsOf(name string) []string {
	var b strings.Builder
	before := rune(0)
	for _, r := range name {
		if unicode.IsUpper(r) && unicode.IsLower(before) {
			b.WriteByte(' ')
		}
		b.WriteRune(r)
		before = r
	}
	return strings.FieldsFunc(strings.ToLower(b.String()), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
}

// take finds out what one pair is.
func (s *sorter) take(p *pair) {
	s.out.Pairs++
	if s.o.Progress != nil && s.out.Pairs%1000 == 0 {
		s.o.Progress(s.out.Pairs)
	}
	h := s.hintsOf(p.name)
	if !p.hasValue {
		s.out.Valueless++
	}
	if why := s.sort(&h, p); why != "" {
		s.unknown[Pattern{Name: patternOf(p.name), Reason: why}]++
	}
}

// sort takes a pair, or says why not.
func (s *sorter) sort(h *hints, p *pair) (why string) {
	switch v := p.value.(type) {
	case map[string]any:
		return s.object(h, p, v)
	case []any:
		return s.list(h, p, v)
	case string:
		if why, ok := s.secret(h, p, v); ok {
			return why
		}
	}
	return s.named(h, p)
}

// list takes a value that is a list of keys or tokens.
func (s *sorter) list(h *hints, p *pair, list []any) (why string) {
	if len(list) == 0 {
		return ""
	}
	missed := ""
	for _, element := range list {
		one := *p
		one.value, one.metadata = element, nil
		switch v := element.(type) {
		case map[string]any:
			missed = cmp.Or(s.object(&hints{provider: h.provider, key: h.key, token: h.token, stats: h.stats, model: h.model}, &one, v), missed)
		case string:
			what, ok := s.secret(h, &one, v)
			if !ok {
				what = reasonUnknown
			}
			missed = cmp.Or(what, missed)
		default:
			missed = reasonUnknown
		}
	}
	return missed
}

// secret takes a text that is a key or a token by itself.
func (s *sorter) secret(h *hints, p *pair, text string) (why string, ok bool) {
	text = strings.TrimSpace(text)
	switch {
	case isToken(text) && !h.key:
		fields := fieldsOf(p.metadata)
		if _, named := fields["name"]; !named && h.parted && !isMark(h.last) {
			fields["name"] = h.last
		}
		s.addToken(h, gateway.Secret(text), fields, p)
		return "", true
	case h.stats || h.model || h.token && !isToken(text):
		return "", false
	case h.key && looksLikeKey(text), strings.HasPrefix(text, "sk-or-"):
		return s.addKey(h, text, fieldsOf(p.metadata), p), true
	}
	return "", false
}

// object takes a value with fields.
func (s *sorter) object(h *hints, p *pair, object map[string]any) (why string) {
	fields := fieldsOf(object)
	for name, v := range fieldsOf(p.metadata) {
		if _, has := fields[name]; !has {
			fields[name] = v
		}
	}
	h.provider = providerOf(fields, h.provider)
	if token := textIn(fields, "token", "clienttoken"); token != "" {
		s.addToken(h, gateway.Secret(token), fields, p)
		return ""
	}
	if key := textIn(fields, "apikey"); key != "" {
		return s.addKey(h, key, fields, p)
	}
	if key := textIn(fields, "key"); key != "" {
		if isToken(key) && !h.key {
			s.addToken(h, gateway.Secret(key), fields, p)
			return ""
		}
		return s.addKey(h, key, fields, p)
	}
	for _, name := range []string{"keys", "apikeys", "accounts", "tokens", "clienttokens"} {
		if list, is := fields[name].([]any); is {
			under := s.hintsOf(name)
			under.provider = h.provider
			return s.list(&under, &pair{name: p.name}, list)
		}
	}
	switch {
	case h.model && h.stats || h.model && hasAny(fields, countFields) || h.model && !h.key && !h.token:
		return s.modelCounts(h, object, fields)
	case h.stats && h.global && !looksLikeKey(h.last):
		return s.totals(h, fields)
	}
	if why := s.byName(h, p, fields); why == "" {
		return ""
	}
	return s.under(h, p, object)
}

// under takes an object that has a member for each key or token.
func (s *sorter) under(h *hints, p *pair, object map[string]any) (why string) {
	taken := false
	for _, name := range slices.Sorted(maps.Keys(object)) {
		under, is := object[name].(map[string]any)
		if !is {
			continue
		}
		one := *h
		one.last, one.parted = name, true
		if !isToken(name) && (!h.key && !h.stats || !looksLikeKey(name)) {
			continue
		}
		if s.object(&one, &pair{name: p.name, value: under}, under) == "" {
			taken = true
		}
	}
	switch {
	case taken:
		return ""
	case h.stats:
		return reasonAmbiguous
	}
	return reasonUnknown
}

// byName takes fields about the key or token that the pair's name holds.
func (s *sorter) byName(h *hints, p *pair, fields map[string]any) (why string) {
	switch name := h.last; {
	case isToken(name) && !h.key:
		s.addToken(h, gateway.Secret(name), fields, p)
		return ""
	case h.token:
		return reasonUnknown
	case (h.parted || !h.key) && looksLikeKey(name) && hasAny(fields, slices.Concat(stateFields, countFields)):
		return s.addKey(h, name, fields, p)
	}
	return reasonUnknown
}

// named takes a pair that says what it is by its name, and by its metadata: its
// value is a mark, a name or one field.
func (s *sorter) named(h *hints, p *pair) (why string) {
	fields := fieldsOf(p.metadata)
	h.provider = providerOf(fields, h.provider)
	if token := textIn(fields, "token"); token != "" {
		s.addToken(h, gateway.Secret(token), fields, p)
		return ""
	}
	if key := textIn(fields, "apikey"); key != "" {
		return s.addKey(h, key, fields, p)
	}
	text, _ := p.value.(string)
	switch {
	case isToken(h.last) && !h.key:
		if _, named := fields["name"]; !named && text != "" && !isMark(text) {
			fields["name"] = text
		}
		s.addToken(h, gateway.Secret(h.last), fields, p)
		return ""
	case h.parted && looksLikeKey(h.last) && s.oneField(h, p):
		return ""
	case h.key && h.parted && !h.stats && looksLikeKey(h.last):
		if text != "" && !isMark(text) && len(fields) == 0 {
			fields["username"] = text
		}
		return s.addKey(h, h.last, fields, p)
	case !p.hasValue:
		return reasonNoValue
	case h.stats:
		return reasonAmbiguous
	}
	return reasonUnknown
}

// oneField takes a pair such as failed_until:<key>, whose value is one field of a key.
func (s *sorter) oneField(h *hints, p *pair) bool {
	front := h.name[:len(h.name)-len(h.last)-1]
	if i := strings.LastIndexAny(front, ":/|"); i >= 0 {
		front = front[i+1:]
	}
	field := plainName(front)
	if !slices.Contains(stateFields, field) && !slices.Contains(countFields, field) || !p.hasValue {
		return false
	}
	s.about(h, h.last, p).describe(map[string]any{field: p.value})
	return true
}

func (f *found) describe(fields map[string]any) { describe(&f.key, fields) }

// about finds the key that something is said about.
func (s *sorter) about(h *hints, key string, p *pair) *found {
	secret := gateway.Secret(key)
	f := s.keys[h.provider][secret]
	if f == nil {
		f = &found{key: gateway.Key{Secret: secret}, pattern: patternOf(p.name)}
		s.keys[h.provider][secret] = f
	}
	return f
}

// addKey takes a key. Statistics alone do not make one.
func (s *sorter) addKey(h *hints, key string, fields map[string]any, p *pair) (why string) {
	if gateway.CheckKey(key) != "" {
		return reasonBadKey
	}
	f := s.about(h, key, p)
	f.describe(fields)
	if f.key.ExpiresAt.IsZero() {
		f.key.ExpiresAt = p.expires
	}
	f.is = f.is || !h.stats || hasAny(fields, []string{"username", "status", "createdat"}) && textIn(fields, "apikey") != ""
	return ""
}

// addToken takes a client token.
func (s *sorter) addToken(h *hints, token gateway.Secret, fields map[string]any, p *pair) {
	hash := gateway.HashToken(token)
	preview := gateway.PreviewToken(token)
	if gateway.IsTokenHash(token.Reveal()) {
		hash, preview, token = token.Reveal(), "", ""
	}
	t := s.tokens[hash]
	if t == nil {
		t = &gateway.Token{Hash: hash, Preview: preview, Plain: token}
		s.tokens[hash] = t
	}
	set(&t.Name, textIn(fields, "name", "label", "description"))
	setTime(&t.CreatedAt, momentIn(fields, "createdat", "created"))
	setTime(&t.ExpiresAt, momentIn(fields, "expiresat", "expires", "expiry", "expiration"))
	if t.ExpiresAt.IsZero() {
		t.ExpiresAt = p.expires
	}
	t.RequestCount = max(t.RequestCount, counter(fields, "requestcount", "requests", "totalrequests"))
	setTime(&t.LastUsed, momentIn(fields, "lastused", "lastusedat"))
	providers := []gateway.ProviderName{providerOf(fields, h.provider)}
	if strings.EqualFold(textIn(fields, "provider", "providers"), "all") {
		providers = gateway.Providers()
	}
	for _, name := range listOf(fields["providers"]) {
		if q, err := gateway.ParseProvider(name); err == nil {
			providers = append(providers, q)
		}
	}
	if list := listOf(fields["providers"]); len(list) > 0 {
		providers = providers[1:]
	}
	for _, q := range providers {
		if !slices.Contains(t.Providers, q) {
			t.Providers = append(t.Providers, q)
		}
	}
}

func listOf(v any) (list []string) {
	elements, _ := v.([]any)
	for _, e := range elements {
		if text, is := e.(string); is {
			list = append(list, text)
		}
	}
	return list
}

// totals takes the counters of a provider.
func (s *sorter) totals(h *hints, fields map[string]any) (why string) {
	c, ok := countsOf(fields)
	if !ok {
		return reasonAmbiguous
	}
	if have := s.out.Totals[h.provider]; c.Requests >= have.Requests {
		s.out.Totals[h.provider] = c
	}
	return ""
}

// modelCounts takes the counters of one model, or of all of them.
func (s *sorter) modelCounts(h *hints, object, fields map[string]any) (why string) {
	models := s.out.Models[h.provider]
	if c, ok := countsOf(fields); ok {
		model := textIn(fields, "model", "name", "id")
		if _, after, is := strings.Cut(h.name, ":"); model == "" && is {
			for _, drop := range []string{"model:", "models:", "stats:"} { // a model's own name may have a colon
				after = strings.TrimPrefix(after, drop)
			}
			model = after
		}
		if model == "" || len(model) > 200 {
			return reasonAmbiguous
		}
		if c.Requests >= models[model].Requests {
			models[model] = c
		}
		return ""
	}
	taken := false
	for model, v := range object {
		if under, is := v.(map[string]any); is && len(model) <= 200 {
			if c, ok := countsOf(fieldsOf(under)); ok {
				models[model], taken = c, true
			}
		}
	}
	switch {
	case taken:
		return ""
	case h.stats:
		return reasonAmbiguous
	}
	return reasonUnknown
}

// export gives what was found. What is said about keys that are not there is
// not taken.
func (s *sorter) export() *Export {
	out := &s.out
	out.Keys = map[gateway.ProviderName][]gateway.Key{}
	for p, keys := range s.keys {
		for _, secret := range slices.Sorted(maps.Keys(keys)) {
			f := keys[secret]
			if !f.is {
				s.unknown[Pattern{Name: f.pattern, Reason: reasonNoKey}]++
				continue
			}
			out.Keys[p] = append(out.Keys[p], f.key)
		}
	}
	for _, hash := range slices.Sorted(maps.Keys(s.tokens)) {
		out.Tokens = append(out.Tokens, *s.tokens[hash])
	}
	for p, n := range s.unknown {
		p.Pairs = n
		out.Unknown = append(out.Unknown, p)
	}
	slices.SortFunc(out.Unknown, func(a, b Pattern) int {
		return cmp.Or(cmp.Compare(b.Pairs, a.Pairs), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Reason, b.Reason))
	})
	return out
}
