package admin

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"

	"ollama-api-pool/internal/gateway"
)

const (
	defaultPageSize = 50
	maxPageSize     = 200
)

// sortable are the columns by which keys can be sorted.
var sortable = []string{"username", "created_at", "expires_at", "status", "consecutive_failures", "last_used"}

// keysQuery is the query of a list of keys, for the OpenAPI document.
type keysQuery struct {
	providerQuery
	Page     int    `query:"page" minimum:"1" default:"1"`
	PageSize int    `query:"pageSize" minimum:"1" default:"50" description:"More than 200 counts as 200."`
	Status   string `query:"status" enum:"all,active,resting,failed,disabled,expired"`
	Category string `query:"category" description:"Family of models, such as kimi."`
	Search   string `query:"search" description:"A part of the user name, the whole key, its id, or the family. The case of letters does not matter; there are no wildcards."`
	Reason   string `query:"reason" description:"The whole text of last_error: why keys are out."`
	Sort     string `query:"sort" description:"username, created_at, expires_at, status, consecutive_failures or last_used, with - in front for descending."`
	Fetch    string `query:"fetch" enum:"all" description:"All keys on one page."`
	Reveal   bool   `query:"reveal" description:"Shows the keys whole. This is logged."`
}

// providerQuery is the query of what belongs to one provider.
type providerQuery struct {
	Provider gateway.ProviderName `query:"provider" default:"ollama"`
}

// paging is how a page lies among the others.
type paging struct {
	Total      int `json:"total"`
	Page       int `json:"page"`
	PageSize   int `json:"pageSize"`
	TotalPages int `json:"totalPages"`
}

// listing is what a list of keys was asked for with.
type listing struct {
	provider gateway.ProviderName
	query    gateway.KeyQuery
	page     int
	size     int // 0: all on one page
	reveal   bool
}

// readListing reads the query of a list of keys. A page larger than the
// largest becomes the largest.
func readListing(r *http.Request) (listing, error) {
	var f faults
	get := r.URL.Query().Get
	l := listing{
		provider: f.provider(r, ""),
		query:    gateway.KeyQuery{Sort: get("sort")},
		page:     f.count(r, "page", 1, math.MaxInt32),
		size:     min(f.count(r, "pageSize", defaultPageSize, math.MaxInt32), maxPageSize),
		reveal:   f.truth(r, "reveal"),
	}
	chosen := f.filter("", get("status"), get("category"), get("search"), get("reason"))
	l.query.Status, l.query.Category, l.query.Search, l.query.Reason = chosen.Status, chosen.Category, chosen.Search, chosen.Reason
	if by := strings.TrimPrefix(l.query.Sort, "-"); l.query.Sort != "" && !slices.Contains(sortable, by) {
		f.add("sort", "must be one of %s, with - in front for descending", strings.Join(sortable, ", "))
	}
	switch get("fetch") {
	case "":
		l.query.Offset, l.query.Limit = (l.page-1)*l.size, l.size
	case "all":
		l.page, l.size = 1, 0
	default:
		f.add("fetch", "must be all")
	}
	return l, f.err()
}

// writePage answers with a list of keys, each as view shows it. It writes one
// after the other, because a whole pool on one page is large.
func writePage(w http.ResponseWriter, name string, l *listing, keys []gateway.Key, total int, view func(*gateway.Key) any) error {
	size, pages := l.size, 1
	if size == 0 {
		size = total
	} else {
		pages = max((total+size-1)/size, 1)
	}
	w.Header().Set("Content-Type", "application/json")
	out := bufio.NewWriterSize(w, 32<<10)
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	_, _ = fmt.Fprintf(out, `{%q:[`, name) // a client that has gone is no error
	for i := range keys {
		if i > 0 {
			_ = out.WriteByte(',')
		}
		if err := enc.Encode(view(&keys[i])); err != nil {
			break // the client has gone: these structs always encode
		}
	}
	_, _ = fmt.Fprintf(out, "],\"total\":%d,\"page\":%d,\"pageSize\":%d,\"totalPages\":%d}\n", total, l.page, size, pages)
	_ = out.Flush()
	return nil
}

// orNull is a time in an answer, null where there is none.
func orNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

// textOrNull is a text in an answer, null where there is none.
func textOrNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// rate is the share of successes in percent, with two digits. What the client
// broke off is neither success nor failure.
func rate(success, failure int64) string {
	if success+failure == 0 {
		return "0.00"
	}
	return fmt.Sprintf("%.2f", 100*float64(success)/float64(success+failure))
}
