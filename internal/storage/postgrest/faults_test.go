package postgrest_test

import (
	"context"
	"database/sql"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/storage/postgrest"
	"ollama-api-pool/internal/testkit/rest"
	"ollama-api-pool/internal/testkit/servers"
)

// count asks for a number.
func count(ctx context.Context, db *sql.DB) error {
	var n int
	return db.QueryRowContext(ctx, "select count(*) from item").Scan(&n)
}

// wantError compares an error of a call with what is to be told of it.
func wantError(t *testing.T, what string, err error, away bool, words ...string) {
	t.Helper()
	var e *postgrest.Error
	if !errors.As(err, &e) {
		t.Errorf("%s: error %v", what, err)
		return
	}
	if e.Away != away {
		t.Errorf("%s: away is %t, want %t: %v", what, e.Away, away, err)
	}
	text := err.Error() + "; " + e.Cure
	for _, word := range words {
		if !strings.Contains(text, word) {
			t.Errorf("%s: %q does not say %q", what, text, word)
		}
	}
	if strings.Contains(text, rest.ServiceKey) || strings.Contains(text, rest.AnonKey) || strings.Contains(text, "canary") {
		t.Errorf("%s: the key is in the error: %s", what, text)
	}
	if strings.Contains(text, "\n") {
		t.Errorf("%s: the error has several lines: %q", what, text)
	}
}

func TestWhatIsSent(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	db := open(t, s, func(o *postgrest.Options) { o.URL += "/rest/v1/" })
	s.Before(func(rest.Call) rest.Fault {
		return rest.Fault{Header: func(h http.Header) bool {
			return h.Get("apikey") == rest.ServiceKey && h.Get("Authorization") == "Bearer "+rest.ServiceKey &&
				h.Get("User-Agent") == "ollama-api-pool/test" && h.Get("Content-Type") == "application/json"
		}}
	})
	if err := count(t.Context(), db); err != nil {
		t.Error(err)
	}
}

func TestOptionsThatMakeNoSense(t *testing.T) {
	t.Parallel()
	for _, o := range []postgrest.Options{
		{},
		{URL: "https://abc.example.com"},
		{URL: "abc.example.com", Key: "canary"},
		{URL: "ftp://abc.example.com", Key: "canary"},
		{URL: "https://user:canary@abc.example.com", Key: "canary"},
		{URL: "https://abc.example.com?x=1", Key: "canary"},
	} {
		if _, err := postgrest.New(o); err == nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("%+v: error %v", o, err)
		}
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	page := strings.Repeat("<html>nothing here</html>\n", 50)
	for what, c := range map[string]struct {
		key    gateway.Secret
		status int
		body   string
		away   bool
		words  []string
	}{
		"a key that nobody knows": {key: "canary-key", words: []string{"service key was refused", "SUPABASE_SERVICE_ROLE_KEY", "401"}},
		"the key of a browser":    {key: rest.AnonKey, words: []string{"permission denied for function", "SUPABASE_SERVICE_ROLE_KEY", "migrate sql --rest", "42501"}},
		"an old token":            {status: 401, body: `{"code":"PGRST303","message":"JWT expired","details":null,"hint":null}`, words: []string{"refused", "JWT expired"}},
		"no function":             {status: 404, body: `{"code":"PGRST202","message":"Could not find the function public.x in the schema cache"}`, words: []string{"function is not in the database", "migrate sql --rest"}},
		"no schema":               {status: 406, body: `{"code":"PGRST106","message":"The schema must be one of the following: api"}`, words: []string{"does not serve the schema", "exposed schemas"}},
		"no PostgREST":            {status: 404, body: page, words: []string{"no PostgREST at the address", "SUPABASE_REST_URL"}},
		"a page":                  {status: 200, body: page, words: []string{"no PostgREST at the address"}},
		"another function":        {status: 200, body: `{"results":[]}`, words: []string{"gives other answers", "migrate sql --rest"}},
		"somewhere else":          {status: 302, body: "", words: []string{"no PostgREST at the address"}},
		"too large":               {status: 413, body: "too large", words: []string{"larger than"}},
		"too often":               {status: 429, body: `{"message":"slow down"}`, away: true, words: []string{"cannot answer now"}},
		"a gateway without it":    {status: 502, body: page, away: true, words: []string{"cannot answer now"}},
		"a paused project":        {status: 540, body: "", away: true, words: []string{"540"}},
		"no database":             {status: 503, body: `{"code":"PGRST002","message":"Could not query the database for the schema cache. Retrying."}`, away: true},
		"no connection left":      {status: 504, body: `{"code":"PGRST003","message":"Timed out acquiring connection from connection pool."}`, away: true},
		"a database that stops":   {status: 500, body: `{"code":"57P01","message":"terminating connection due to administrator command"}`, away: true},
		"too many connections":    {status: 503, body: `{"code":"53300","message":"too many clients"}`, away: true},
		"too slow":                {status: 500, body: `{"code":"57014","message":"canceling statement due to statement timeout"}`, away: true, words: []string{"took too long", "docs/supabase.md"}},
		"locked":                  {status: 500, body: `{"code":"55P03","message":"canceling statement due to lock timeout"}`, away: true},
		"a table is missing":      {status: 404, body: `{"code":"42P01","message":"relation \"x\" does not exist"}`, words: []string{"table or a column", "migrate sql --rest"}},
		"an echo":                 {status: 400, body: `{"message":"what is ` + rest.ServiceKey + `?"}`, words: []string{"***"}},
	} {
		t.Run(what, func(t *testing.T) {
			db := open(t, s, func(o *postgrest.Options) {
				if c.key != "" {
					o.Key = c.key
				}
			})
			s.Before(nil)
			if c.status != 0 {
				s.Before(func(rest.Call) rest.Fault { return rest.Fault{Status: c.status, Body: c.body} })
			}
			wantError(t, "a read", count(t.Context(), db), c.away, c.words...)
			_, err := db.ExecContext(t.Context(), "update item set n = 0")
			wantError(t, "a write", err, c.away, c.words...)
		})
	}
}

func TestTheFunctionsAreMissing(t *testing.T) {
	t.Parallel()
	s := rest.Start(t, servers.SharedPostgres(t).Database(t))
	wantError(t, "a read", count(t.Context(), open(t, s, nil)), false, "PGRST202", "migrate sql --rest", "404")
}

func TestOthersMayNotCallTheFunctions(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	for _, role := range []string{"anon", "authenticated"} {
		for _, name := range []string{"ollama_api_pool_sql", "ollama_api_pool_read"} {
			err := s.Run(t.Context(), "begin; set local role "+role+`; select public.`+name+`('{"texts": [], "run": []}'); rollback`)
			if err == nil || !strings.Contains(err.Error(), "permission denied for function") {
				t.Errorf("%s calls %s: %v", role, name, err)
			}
			_ = s.Run(t.Context(), "rollback")
		}
	}
}

func TestOutOfReach(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	db := open(t, s, func(o *postgrest.Options) { o.Timeout = 200 * time.Millisecond })

	s.Away(true)
	wantError(t, "behind a gateway", count(t.Context(), db), true, "cannot answer now")
	s.Away(false)

	s.Before(func(rest.Call) rest.Fault { return rest.Fault{Cut: true} })
	wantError(t, "cut off", count(t.Context(), db), true, "out of reach")

	s.Before(func(rest.Call) rest.Fault {
		return rest.Fault{Wait: func(ctx context.Context) { <-ctx.Done() }}
	})
	wantError(t, "silent", count(t.Context(), db), true, "no answer in time")

	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := count(ctx, db); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the caller's deadline: %v", err)
	}
	s.Before(nil)
	if err := count(t.Context(), db); err != nil {
		t.Errorf("it is back: %v", err)
	}

	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	c, err := postgrest.New(postgrest.Options{URL: gone.URL, Key: rest.ServiceKey})
	if err != nil {
		t.Fatal(err)
	}
	nowhere := sql.OpenDB(c)
	defer func() { _ = nowhere.Close() }()
	wantError(t, "nobody listens", count(t.Context(), nowhere), true, "out of reach")
}

// TestADeadConnection: what changes nothing is sent again; of a commit nobody
// knows what became.
func TestADeadConnection(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	db := open(t, s, nil)
	cutNext := func() {
		cut := true
		s.Before(func(rest.Call) rest.Fault {
			f := rest.Fault{Cut: cut}
			cut = false
			return f
		})
	}
	for range 2 {
		if err := count(t.Context(), db); err != nil {
			t.Fatal(err)
		}
		cutNext()
	}
	if err := count(t.Context(), db); err != nil {
		t.Errorf("a read on a connection that dies: %v", err)
	}
	cutNext()
	_, err := db.ExecContext(t.Context(), "update item set n = 1")
	wantError(t, "a write on a connection that dies", err, true, "out of reach")
}

// TestTheKeyGoesNowhereElse: a redirect is not followed.
func TestTheKeyGoesNowhereElse(t *testing.T) {
	t.Parallel()
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("somebody else was sent %v", r.Header)
	}))
	defer other.Close()
	here := httptest.NewServer(http.RedirectHandler(other.URL, http.StatusTemporaryRedirect))
	defer here.Close()
	c, err := postgrest.New(postgrest.Options{URL: here.URL, Key: rest.ServiceKey})
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(c)
	defer func() { _ = db.Close() }()
	wantError(t, "a redirect", count(t.Context(), db), false, "307")
}

func TestABodyThatIsTooLarge(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.Limit = 1000
	db := open(t, s, nil)
	_, err := db.ExecContext(t.Context(), "insert into item (name) values (?)", strings.Repeat("x", 2000))
	wantError(t, "a large text", err, false, "larger than", "413")
	if err := count(t.Context(), db); err != nil {
		t.Error(err)
	}
}

// TestACommitOfUnknownOutcome: whoever sends it again has to be recognised, as
// by a number that is raised in the same transaction.
func TestACommitOfUnknownOutcome(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	db := open(t, s, nil)
	exec(t, db, "insert into item (name, n) values ('batch', 0), ('sum', 0)")
	apply := func() error {
		_, err := again(t, db, func(tx *sql.Tx) error {
			if changed(t, exec(t, tx, "update item set n = 1 where name = 'batch' and n < 1")) == 0 {
				return nil // it was taken
			}
			exec(t, tx, "update item set n = n + 7 where name = 'sum'")
			return nil
		})
		return err
	}
	s.Before(func(c rest.Call) rest.Fault { return rest.Fault{Cut: c.Commit, After: true} })
	wantError(t, "carried out, then cut", apply(), true)
	s.Before(func(c rest.Call) rest.Fault { return rest.Fault{Cut: c.Commit} })
	wantError(t, "cut", apply(), true)
	s.Before(nil)
	for range 2 {
		if err := apply(); err != nil {
			t.Fatal(err)
		}
	}
	var sum int
	if scan(t, db.QueryRowContext(t.Context(), "select n from item where name = 'sum'"), &sum); sum != 7 {
		t.Errorf("the sum is %d, want 7", sum)
	}
}
