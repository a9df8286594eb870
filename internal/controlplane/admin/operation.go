package admin

// operation is what the OpenAPI document says of one address. Requests and
// answers are told by the structs that the handler decodes and encodes, so that
// the document cannot say anything else.
type operation struct {
	summary string // one line, as a title
	about   string // more, in Markdown; may be empty
	group   string // the tag: Keys, Import, Checks, Tokens, Statistics, Requests, Cache, Session, System
	query   any    // a struct whose fields have query and path tags; nil: none
	body    any    // what is decoded; nil: nothing
	answer  any    // what is encoded under 200; nil: no JSON
	// more are further answers: status to struct, or to a string, which is the
	// content type of an answer that is not JSON, or several, parted by ", ".
	more map[int]any

	texts    []string // content types of bodies that are not JSON: text, or a form with a file
	example  string   // a body in JSON, ready to be sent; may be empty
	optional bool     // a body may be left out
	tolerant bool     // fields of the body that are not known are passed over: scripts from before may send them
	open     bool     // no admin token is needed
	former   bool     // an older name of another address
	session  bool     // only the cookie lets in, not the admin token
}
