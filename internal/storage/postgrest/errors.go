package postgrest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"ollama-api-pool/internal/gateway"
)

// Error is a call that did not come to its end.
type Error struct {
	Function string
	Status   int    // of the HTTP answer, 0: there was none
	Code     string // of PostgREST or of PostgreSQL, may be empty
	Away     bool   // out of reach for now, or no answer in time: try again later
	Cause    string // in plain words
	Cure     string
	Err      error // what was said: for a code of PostgreSQL a *pgconn.PgError
}

// Error gives one line.
func (e *Error) Error() string {
	line := "call " + e.Function + ": " + e.Cause
	if e.Status != 0 {
		line += fmt.Sprintf(" (HTTP status %d", e.Status)
		if e.Code != "" {
			line += ", " + e.Code
		}
		line += ")"
	}
	if e.Err != nil {
		line += ": " + strings.Join(strings.Fields(e.Err.Error()), " ")
	}
	return line
}

// Unwrap gives what was said.
func (e *Error) Unwrap() error { return e.Err }

var errLate = errors.New("no answer in time")

// What helps against an error.
const (
	scriptCure = "run the script that `ollama-api-pool migrate sql --rest` prints in the SQL editor, and try again"
	keyCure    = "set SUPABASE_SERVICE_ROLE_KEY to the project's service_role key or to one of its secret keys"
	laterCure  = "see that the project is running and SUPABASE_REST_URL is its address, and try again when it answers"
)

// broken is the error of a call that was not answered. Whether the database has
// carried it out is not known.
func (c *Connector) broken(ctx context.Context, name string, err error) error {
	e := &Error{Function: name, Away: true, Cause: "PostgREST is out of reach", Cure: laterCure}
	switch {
	case errors.Is(context.Cause(ctx), errLate):
		e.Cause, err = "PostgREST gave no answer in time", errLate
	case ctx.Err() != nil:
		return fmt.Errorf("call %s: %w", name, ctx.Err())
	}
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err // without the address, which whoever wraps this has
	}
	e.Err = err
	return e
}

// complaint is how PostgREST tells of errors, its own and PostgreSQL's
// (https://docs.postgrest.org/en/stable/references/errors.html).
type complaint struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Details string `json:"details"`
	Hint    string `json:"hint"`
}

// refusal makes the error of an answer that is none of 200.
func (c *Connector) refusal(name string, status int, text []byte) error {
	var said complaint
	if json.Unmarshal(text, &said) != nil {
		said = complaint{Message: string(text)}
	}
	e := &Error{Function: name, Status: status, Code: said.Code}
	message := c.safe(said.Message)
	if isSQLState(said.Code) {
		e.Err = &pgconn.PgError{Severity: "ERROR", Code: said.Code, Message: message, Detail: c.safe(said.Details), Hint: c.safe(said.Hint)}
	} else if message != "" {
		e.Err = errors.New(message)
	}
	e.Cause, e.Cure, e.Away = meaning(status, said.Code)
	return e
}

// isSQLState tells a code of PostgreSQL from one of PostgREST.
func isSQLState(code string) bool { return len(code) == 5 }

// meaning says in plain words what an answer means.
func meaning(status int, code string) (cause, cure string, away bool) {
	switch code {
	case "PGRST202", "42883", "PGRST203":
		return "the function is not in the database, or not in the schema that PostgREST serves", scriptCure, false
	case "PGRST205", "42P01", "42703":
		return "a table or a column is missing in the database", scriptCure, false
	case "PGRST106":
		return "PostgREST does not serve the schema of the function", "add the schema public to the exposed schemas (Supabase: Project Settings, Data API)", false
	case "42501":
		return "the role of the key may not call the function or use the tables", keyCure + ", and " + scriptCure, false
	case "55P03":
		return "somebody else has kept it locked for too long", laterCure, true
	case "57014":
		return "the database took too long and was stopped", "see docs/supabase.md about time limits", true
	}
	if isSQLState(code) {
		away = strings.HasPrefix(code, "08") || strings.HasPrefix(code, "53") || strings.HasPrefix(code, "57P")
		return "the database refused it", laterCure, away
	}
	switch {
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return "the service key was refused", keyCure, false
	case status == http.StatusRequestEntityTooLarge:
		return "the call is larger than PostgREST, or what stands before it, accepts", "import fewer keys at a time, or raise the limit for request bodies", false
	case status == http.StatusTooManyRequests, status >= http.StatusInternalServerError, status == http.StatusRequestTimeout:
		return "PostgREST cannot answer now", laterCure, true
	case status == http.StatusNotFound, status >= 200 && status < 400:
		return "there is no PostgREST at the address", "set SUPABASE_REST_URL to the project's address, such as https://abc.supabase.co", false
	}
	return "PostgREST refused the call", "see that SUPABASE_REST_URL is the project's address", false
}

// unread is the error of an answer that no function of ours gives.
func (c *Connector) unread(name string, status int, text []byte) error {
	cause, cure, _ := meaning(http.StatusNotFound, "")
	return &Error{Function: name, Status: status, Cause: cause, Cure: cure, Err: errors.New(c.safe(string(text)))}
}

// safe shortens a foreign text and takes the key out, should it be in it.
func (c *Connector) safe(text string) string {
	return gateway.Clip(strings.ReplaceAll(text, c.key.Reveal(), "***"), 300)
}

// conflict is the error of a transaction whose results are not what they were.
func conflict(name string) error {
	return &Error{
		Function: name, Code: "40001", Cause: "somebody else changed what was read", Cure: "try again",
		Err: &pgconn.PgError{Severity: "ERROR", Code: "40001", Message: "could not serialize access: a result is not what it was"},
	}
}
