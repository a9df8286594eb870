// Package rest is for tests only: it stands in for PostgREST, and for the
// gateway that Supabase has in front of it, before a real PostgreSQL.
//
// It copies what is documented and what the store relies on: the address of
// functions, the method, both headers, the content type, roles by key, a
// transaction for each call that cannot write where the function is stable, a
// time limit of the function that holds for the whole transaction, and errors in
// PostgREST's form with the status codes of its table
// (https://docs.postgrest.org/en/stable/references/errors.html,
// …/api/functions.html, …/transactions.html). Whatever it does not know it
// refuses.
package rest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Keys of the server. They are fake.
const (
	ServiceKey = "fake-service-key-not-a-real-one"
	AnonKey    = "fake-anon-key-not-a-real-one"
)

// Call is a call that came in.
type Call struct {
	Function string
	Size     int      // of the body
	Commit   bool     // the body asks for what was done to be kept
	Texts    []string // of the statements
}

// callOf reads what a body says.
func callOf(function string, body []byte) Call {
	var said struct {
		Request struct {
			Texts  []string `json:"texts"`
			Commit bool     `json:"commit"`
		} `json:"request"`
	}
	_ = json.Unmarshal(body, &said) // what is no JSON is refused later
	return Call{Function: function, Size: len(body), Commit: said.Request.Commit, Texts: said.Request.Texts}
}

// Server is a PostgREST for one database.
type Server struct {
	*httptest.Server
	pool *pgxpool.Pool

	Database string // its address, to reach it without the server

	// Limit bounds a request's body, 0: not at all. Set it before the first call.
	Limit int64

	mu     sync.Mutex // guards what follows
	calls  []Call
	before func(Call) Fault
	gone   atomic.Bool
}

// Fault is what happens to a call.
type Fault struct {
	Status int                           // answered instead of carrying the call out, with Body
	Body   string                        //
	Wait   func(ctx context.Context)     // called first
	Cut    bool                          // the connection is cut instead of an answer
	After  bool                          // of Cut: once the call was carried out
	Header func(header http.Header) bool // false: refused with 500; looks at the request's header
}

// Setup makes a database like Supabase's, and runs a script in it as an operator
// does in the SQL editor.
func Setup(ctx context.Context, database, script string) error {
	conn, err := pgx.Connect(ctx, database)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	if err := roles(ctx, conn); err != nil {
		return err
	}
	_, err = conn.PgConn().Exec(ctx, script).ReadAll()
	return err
}

// roles makes the roles of Supabase in a cluster, once.
func roles(ctx context.Context, conn *pgx.Conn) error {
	for _, role := range []string{"anon", "authenticated", "service_role bypassrls"} {
		_, err := conn.Exec(ctx, "create role "+role)
		var e *pgconn.PgError
		if err != nil && (!errors.As(err, &e) || e.Code != "42710" && e.Code != "23505") {
			return fmt.Errorf("make the role %s: %w", role, err)
		}
	}
	// What Supabase's databases have: new tables are everybody's.
	_, err := conn.Exec(ctx, `alter default privileges in schema public grant all on tables to anon, authenticated, service_role;
		alter default privileges in schema public grant all on sequences to anon, authenticated, service_role;
		grant usage on schema public to anon, authenticated, service_role; revoke create on schema public from public`)
	return err
}

// Start serves a database at its address until the test ends.
func Start(tb testing.TB, database string) *Server {
	tb.Helper()
	if err := Setup(tb.Context(), database, ""); err != nil {
		tb.Fatal(err)
	}
	config, err := pgxpool.ParseConfig(database)
	if err != nil {
		tb.Fatal(err)
	}
	config.MaxConns = 10
	pool, err := pgxpool.NewWithConfig(context.Background(), config)
	if err != nil {
		tb.Fatal(err)
	}
	s := &Server{pool: pool, Database: database}
	s.Server = httptest.NewServer(http.HandlerFunc(s.serve))
	tb.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
		pool.Close()
	})
	return s
}

// Run runs a script as an operator does in Supabase's SQL editor.
func (s *Server) Run(ctx context.Context, script string) error {
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	_, err = conn.Conn().PgConn().Exec(ctx, script).ReadAll()
	return err
}

// Query runs a statement as the database's owner and gives the first value of
// its result, nil where there is none.
func (s *Server) Query(ctx context.Context, text string) (value any, err error) {
	rows, err := s.pool.Query(ctx, text)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	if rows.Next() {
		values, err := rows.Values()
		if err != nil {
			return nil, err
		}
		value = values[0]
	}
	rows.Close()
	return value, rows.Err()
}

// Calls tells which calls came since the last time that it was asked.
func (s *Server) Calls() []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	calls := s.calls
	s.calls = nil
	return calls
}

// Before has a function look at each call that comes from now on; nil ends that.
func (s *Server) Before(look func(Call) Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before = look
}

// Away makes the server answer as a gateway whose PostgREST is gone, or ends that.
func (s *Server) Away(is bool) { s.gone.Store(is) }

var rpc = regexp.MustCompile(`^/rest/v1/rpc/([a-z_]+)$`)

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	if s.gone.Load() {
		http.Error(w, "<html><body>502 Bad Gateway</body></html>", http.StatusBadGateway)
		return
	}
	role, ok := s.admit(w, r)
	if !ok {
		return
	}
	if s.Limit > 0 && int64(len(body)) > s.Limit {
		refuse(w, http.StatusRequestEntityTooLarge, complaint{Message: "Request size limit exceeded"})
		return
	}
	call := callOf(rpc.FindStringSubmatch(r.URL.Path)[1], body)
	s.mu.Lock()
	s.calls = append(s.calls, call)
	look := s.before
	s.mu.Unlock()
	var f Fault
	if look != nil {
		f = look(call)
	}
	if f.Wait != nil {
		f.Wait(r.Context())
	}
	switch {
	case f.Header != nil && !f.Header(r.Header):
		refuse(w, http.StatusInternalServerError, complaint{Message: "the header is not as it should be"})
	case f.Status != 0:
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		w.WriteHeader(f.Status)
		_, _ = io.WriteString(w, f.Body)
	case f.Cut && !f.After:
		panic(http.ErrAbortHandler)
	default:
		answer, err := s.carryOut(r.Context(), role, call.Function, body)
		if f.Cut {
			panic(http.ErrAbortHandler)
		}
		if err != nil {
			refuseFor(w, err)
			return
		}
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		_, _ = w.Write(answer)
	}
}

// admit does the gateway's part and that of the request's form, and gives the
// role of the key.
func (s *Server) admit(w http.ResponseWriter, r *http.Request) (role string, ok bool) {
	roles := map[string]string{ServiceKey: "service_role", AnonKey: "anon"}
	apikey, bearer := r.Header.Get("apikey"), strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	switch {
	case apikey == "":
		refuse(w, http.StatusUnauthorized, complaint{Message: "No API key found in request", Hint: "No `apikey` request header or url param was found."})
	case roles[apikey] == "":
		refuse(w, http.StatusUnauthorized, complaint{Message: "Invalid API key", Hint: "Double check your Supabase `anon` or `service_role` API key: " + apikey})
	case rpc.FindStringSubmatch(r.URL.Path) == nil:
		refuse(w, http.StatusNotFound, complaint{Code: "PGRST125", Message: "Invalid path specified in request URL"})
	case roles[bearer] == "":
		refuse(w, http.StatusUnauthorized, complaint{Code: "PGRST301", Message: "JWSError JWSInvalidSignature"})
	case r.Method != http.MethodPost:
		refuse(w, http.StatusMethodNotAllowed, complaint{Code: "PGRST101", Message: "Cannot use the " + r.Method + " method on RPC"})
	case r.Header.Get("Content-Type") != "application/json":
		refuse(w, http.StatusUnsupportedMediaType, complaint{Code: "PGRST102", Message: "Content-Type not acceptable: " + r.Header.Get("Content-Type")})
	default:
		return roles[bearer], true
	}
	return "", false
}
