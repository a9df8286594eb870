package rest

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// complaint is the form of errors.
type complaint struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Details string `json:"details"`
	Hint    string `json:"hint"`
	status  int
}

// Error implements error.
func (c *complaint) Error() string { return c.Message }

func refuse(w http.ResponseWriter, status int, c complaint) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(&c) //nolint:errchkjson // texts
}

// statuses are the codes that PostgREST gives its own HTTP status, by the whole
// code or its beginning. All others get 400.
var statuses = []struct {
	code   string
	status int
}{
	{"23503", 409},
	{"23505", 409},
	{"25006", 405},
	{"42883", 404},
	{"42P01", 404},
	{"42P17", 500},
	{"42501", 403},
	{"53400", 500},
	{"P0001", 400},
	{"08", 503},
	{"09", 500},
	{"0L", 403},
	{"0P", 403},
	{"25", 500},
	{"28", 403},
	{"2D", 500},
	{"38", 500},
	{"39", 500},
	{"3B", 500},
	{"40", 500},
	{"53", 503},
	{"54", 500},
	{"55", 500},
	{"57", 500},
	{"58", 500},
	{"F0", 500},
	{"HV", 500},
	{"P0", 500},
	{"XX", 500},
}

// refuseFor answers with an error.
func refuseFor(w http.ResponseWriter, err error) {
	var own *complaint
	if errors.As(err, &own) {
		refuse(w, own.status, *own)
		return
	}
	var e *pgconn.PgError
	if !errors.As(err, &e) {
		refuse(w, http.StatusServiceUnavailable, complaint{Code: "PGRST001", Message: "Database client error", Details: err.Error()})
		return
	}
	status := http.StatusBadRequest
	for _, s := range statuses {
		if strings.HasPrefix(e.Code, s.code) {
			status = s.status
			break
		}
	}
	refuse(w, status, complaint{Code: e.Code, Message: e.Message, Details: e.Detail, Hint: e.Hint})
}

// carryOut calls a function in a transaction of its own.
func (s *Server) carryOut(ctx context.Context, role, function string, body []byte) (answer []byte, err error) {
	var args map[string]json.RawMessage
	if err := json.Unmarshal(body, &args); err != nil {
		return nil, &complaint{Code: "PGRST102", Message: "Empty or invalid json", status: http.StatusBadRequest}
	}
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Release()
	var volatility string
	var settings []string
	err = conn.QueryRow(ctx, `select provolatile::text, coalesce(proconfig, '{}') from pg_proc
		where proname = $1 and pronamespace = 'public'::regnamespace and proargnames = '{request}' and proargtypes[0] = 'jsonb'::regtype`, function).
		Scan(&volatility, &settings)
	if errors.Is(err, pgx.ErrNoRows) || err == nil && (len(args) != 1 || args["request"] == nil) {
		return nil, &complaint{
			Code: "PGRST202", Message: "Could not find the function public." + function + "(request) in the schema cache", status: http.StatusNotFound,
		}
	}
	if err != nil {
		return nil, err
	}
	o := pgx.TxOptions{IsoLevel: pgx.ReadCommitted, AccessMode: pgx.ReadWrite}
	if volatility != "v" {
		o.AccessMode = pgx.ReadOnly
	}
	err = pgx.BeginTxFunc(ctx, conn, o, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "select set_config('role', $1, true), set_config('search_path', '\"public\"', true)", role); err != nil {
			return err
		}
		for _, setting := range settings {
			if value, is := strings.CutPrefix(setting, "statement_timeout="); is {
				if _, err := tx.Exec(ctx, "select set_config('statement_timeout', $1, true)", value); err != nil {
					return err
				}
			}
		}
		return tx.QueryRow(ctx, `select public.`+pgx.Identifier{function}.Sanitize()+`("request" => $1::jsonb)::text`, string(args["request"])).Scan(&answer)
	})
	return answer, err
}
