package sqlstore

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"ollama-api-pool/internal/gateway"
)

// indexesOf names the indexes of the keys, with what makes them.
func indexesOf(t *testing.T, s *Store) []string {
	t.Helper()
	rows, err := s.reader.QueryContext(t.Context(), "select coalesce(sql, name) from sqlite_master where type = 'index' and tbl_name = 'ollama_api_keys' order by 1")
	if err != nil {
		t.Fatal(err)
	}
	texts, err := collect(rows, func(text *string) []any { return []any{text} })
	if err != nil {
		t.Fatal(err)
	}
	return texts
}

func TestLargeImports(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "pool.db")
	s, other := mustOpen(t, Options{Path: path, bulkFrom: 300}), mustOpen(t, Options{Path: path})
	if _, err := s.writer.ExecContext(t.Context(), `create index "an ""odd"" one" on ollama_api_keys (last_error)`); err != nil {
		t.Fatal(err)
	}
	before := indexesOf(t, s)
	check := func(what string, want int) {
		t.Helper()
		if after := indexesOf(t, s); !slices.Equal(after, before) {
			t.Errorf("%s: the indexes became %q", what, after)
		}
		var found string
		if err := s.reader.QueryRowContext(t.Context(), "pragma integrity_check").Scan(&found); err != nil || found != "ok" {
			t.Errorf("%s: the file is %s, %v", what, found, err)
		}
		if _, total := list(t, other, gateway.KeyQuery{Search: "USER", Limit: 1}); total != want {
			t.Errorf("%s: %d keys, want %d", what, total, want)
		}
		var cache int
		if err := s.writer.QueryRowContext(t.Context(), "pragma cache_size").Scan(&cache); err != nil || cache != -writerCache {
			t.Errorf("%s: the cache has %d, %v", what, cache, err)
		}
	}
	const large = 400
	lost := errors.New("the connection broke off")
	if _, _, err := s.AddKeys(t.Context(), gateway.Ollama, yield(someKeys(0, large), lost), nil); !errors.Is(err, lost) {
		t.Errorf("a cut import gave %v", err)
	}
	check("cut off", 0)
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	if _, _, err := s.AddKeys(ctx, gateway.Ollama, yield(someKeys(0, large), nil), func(gateway.Key) {
		if n++; n == large {
			cancel()
		}
	}); !errors.Is(err, context.Canceled) {
		t.Errorf("an import whose caller has gone gave %v", err)
	}
	check("cancelled at the end", 0)

	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { // lists go on, and see all or none
		for {
			keys, total, err := other.Keys(t.Context(), gateway.Ollama, gateway.KeyQuery{Sort: "-username", Limit: 5})
			if err != nil || total != 0 && total != large || len(keys) != min(5, total) {
				t.Errorf("while importing: %d of %d keys, %v", len(keys), total, err)
			}
			select {
			case <-done:
				return
			default:
			}
		}
	})
	add(t, s, gateway.Ollama, someKeys(0, large)...)
	close(done)
	wg.Wait()
	check("into an empty table", large)
	add(t, s, gateway.Ollama, someKeys(large, 2*large)...)
	check("into a full one", 2*large)
	if news, existing, err := s.AddKeys(t.Context(), gateway.Ollama, yield(someKeys(0, 2*large), nil), nil); news != 0 || existing != 2*large || err != nil {
		t.Errorf("the same again: %d new, %d existing, %v", news, existing, err)
	}
	check("the same again", 2*large)
}
