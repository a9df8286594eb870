package sqlstore

import (
	"path/filepath"
	"strings"
	"testing"

	"ollama-api-pool/internal/gateway"
)

// TestListsWalkAlongIndexes holds that SQLite has an index for the orders that
// are said to have one, in both directions: with 100,000 keys sorting shows.
func TestListsWalkAlongIndexes(t *testing.T) {
	s := mustOpen(t, Options{Path: filepath.Join(t.TempDir(), "pool.db")})
	add(t, s, gateway.Ollama, someKeys(0, 20)...)
	p := tables{gateway.Ollama}
	for _, by := range []string{"created_at", "username", "expires_at", "consecutive_failures"} {
		for i, seg := range s.orderOf(by, false) {
			for _, direction := range []string{"", " desc"} {
				l := lister{s: s, t: p, where: fragment{text: everyKey}}
				f := l.chosen(&seg)
				query := "explain query plan select k.key_id" + f.text + " order by " + strings.ReplaceAll(seg.order, "{d}", direction) + " limit 5 offset 5"
				rows, err := s.reader.QueryContext(t.Context(), p.sql(query), f.args...)
				if err != nil {
					t.Fatal(err)
				}
				type step struct {
					id, parent, unused int
					what               string
				}
				steps, err := collect(rows, func(st *step) []any { return []any{&st.id, &st.parent, &st.unused, &st.what} })
				if err != nil || len(steps) != 1 || !strings.Contains(steps[0].what, "INDEX") {
					t.Errorf("%s%s, segment %d: the plan is %+v, %v", by, direction, i, steps, err)
				}
			}
		}
	}
}
