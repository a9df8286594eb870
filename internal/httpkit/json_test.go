package httpkit

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"ollama-api-pool/internal/gateway"
)

// order is a request body of the kind that the admin API takes.
type order struct {
	Name  string   `json:"name"`
	TTL   *int     `json:"ttl"`
	Count uint8    `json:"count"`
	Share float64  `json:"share"`
	On    bool     `json:"on"`
	Keys  []string `json:"keys"`
	Deep  struct {
		Level int `json:"level"`
	} `json:"deep"`
	Picky picky `json:"picky"`
	outer
}

type outer struct {
	Side int `json:"side"`
	*Inner
}

type Inner struct {
	Depth []struct {
		Side int `json:"side"`
	} `json:"depth"`
}

type picky string

func (p *picky) UnmarshalJSON(b []byte) error {
	if string(b) == `"odd"` {
		return gateway.Errorf(gateway.KindInvalid, "picky must not be odd")
	}
	if string(b) == `"even"` {
		return errors.New("internal words")
	}
	*p = picky(b)
	return nil
}

func decode(t testing.TB, body io.Reader, limit int64, dst any, options ...DecodeOption) error {
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", body)
	return DecodeJSON(httptest.NewRecorder(), r, limit, dst, options...)
}

func TestDecodeJSON(t *testing.T) {
	for _, tt := range []struct {
		name, body string
		want       string // the message, "" for none
	}{
		{"whole", `{"name":"a","ttl":5,"count":255,"share":0.5,"on":true,"keys":["x"],"deep":{"level":1}}`, ""},
		{"blanks around", " \r\n\t{\"name\":\"a\"}\n ", ""},
		{"byte order mark", "\xef\xbb\xbf{\"name\":\"a\"}", ""},
		{"null field", `{"name":"a","ttl":null}`, ""},
		{"nothing", ``, "the body is empty; send a JSON value"},
		{"blanks", " \n", "the body is empty; send a JSON value"},
		{"null", `null`, "the body must not be null"},
		{"null and more", ` null {}`, "the body must not be null"},
		{"not quite null", `nul`, "the body is not valid JSON: it ends in the middle"},
		{"no JSON", `name=a`, "the body is not valid JSON: invalid character 'a' in literal null (expecting 'u') at byte 2"},
		{"cut", `{"name":"a"`, "the body is not valid JSON: it ends in the middle"},
		{"two values", `{"name":"a"}{}`, "the body has more than one JSON value"},
		{"rubbish behind", `{"name":"a"}]`, "the body has more than one JSON value"},
		{"unknown field", `{"nam":"a"}`, `unknown field "nam"`},
		{"unknown field, quoted", `{"na\"m\u0001":"a"}`, `unknown field "na\"m\x01"`},
		{"unknown field, long", `{"` + strings.Repeat("n", 500) + `":1}`, `unknown field "` + strings.Repeat("n", 24) + `…"`},
		{"string wanted", `{"name":1}`, `field "name" must be a string, not number`},
		{"whole number wanted", `{"ttl":"soon"}`, `field "ttl" must be a whole number, not string`},
		{"fraction", `{"ttl":1.5}`, `field "ttl" must be a whole number, not number 1.5`},
		{"negative", `{"count":-1}`, `field "count" must be a whole number that is not negative, not number -1`},
		{"number wanted", `{"share":[]}`, `field "share" must be a number, not array`},
		{"switch wanted", `{"on":"yes"}`, `field "on" must be true or false, not string`},
		{"list wanted", `{"keys":"x"}`, `field "keys" must be an array, not string`},
		{"string in list wanted", `{"keys":[1]}`, `field "keys" must be a string, not number`},
		{"deep", `{"deep":{"level":{}}}`, `field "deep.level" must be a whole number, not object`},
		{"embedded", `{"side":"x"}`, `field "side" must be a whole number, not string`},
		{"embedded twice", `{"depth":[{"side":"x"}]}`, `field "depth.side" must be a whole number, not string`},
		{"object wanted", `[]`, `the body must be an object, not array`},
		{"own words", `{"picky":"odd"}`, `picky must not be odd`},
		{"foreign words", `{"picky":"even"}`, `the body could not be read`},
		{"too deep", strings.Repeat("[", 20_000), `the body is not valid JSON: invalid character '[' exceeded max depth at byte 10001`},
	} {
		var got order
		err := decode(t, strings.NewReader(tt.body), 1<<20, &got)
		if tt.want == "" {
			if err != nil || got.Name != "a" {
				t.Errorf("%s: %+v, %v", tt.name, got, err)
			}
			continue
		}
		var e *gateway.Error
		if !errors.As(err, &e) || e.Kind != gateway.KindInvalid || e.Message != tt.want {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

func TestDecodeJSONOptions(t *testing.T) {
	var got order
	if err := decode(t, strings.NewReader(`{"more":1,"name":"a"}`), 100, &got, AllowUnknown); err != nil || got.Name != "a" {
		t.Errorf("unknown field allowed: %+v, %v", got, err)
	}
	got = order{Name: "before"}
	if err := decode(t, strings.NewReader(" "), 100, &got, AllowUnknown, AllowEmpty); err != nil || got.Name != "before" {
		t.Errorf("empty body allowed: %+v, %v", got, err)
	}
}

func TestDecodeJSONLimit(t *testing.T) {
	body := `{"name":"` + strings.Repeat("a", 89) + `"}` // 100 bytes
	for _, tt := range []struct {
		name string
		body io.Reader
		fits bool
	}{
		{"just fits", strings.NewReader(body), true},
		{"declared too large", strings.NewReader(body + " "), false},
		{"chunked, fits", io.MultiReader(strings.NewReader(body)), true},
		{"chunked, a value too large", io.MultiReader(strings.NewReader(body[:90] + body[9:])), false},
		{"chunked, blanks too large", io.MultiReader(strings.NewReader(body + " ")), false},
		{"chunked, blanks before", io.MultiReader(strings.NewReader(strings.Repeat(" ", 101))), false},
	} {
		var got order
		err := decode(t, tt.body, 100, &got)
		if tt.fits {
			if err != nil {
				t.Errorf("%s: %v", tt.name, err)
			}
			continue
		}
		var e *gateway.Error
		if !errors.As(err, &e) || e.Kind != gateway.KindTooLarge || e.Message != "the body is larger than 100 bytes" {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

func TestDecodeJSONCompressed(t *testing.T) {
	for encoding, refused := range map[string]bool{"gzip": true, "Identity": false, "": false} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader("{}"))
		r.Header.Set("Content-Encoding", encoding)
		err := DecodeJSON(httptest.NewRecorder(), r, 100, &order{})
		if refused != (err != nil) || err != nil && gateway.AsError(err).Kind != gateway.KindMediaType {
			t.Errorf("%q: %v", encoding, err)
		}
	}
}

func TestDecodeJSONBrokenConnection(t *testing.T) {
	cause := errors.New("connection reset")
	err := decode(t, io.MultiReader(strings.NewReader(`{"name`), failing{cause}), 100, &order{})
	if e := gateway.AsError(err); e.Kind != gateway.KindInvalid || !errors.Is(err, cause) || strings.Contains(e.Message, "reset") {
		t.Errorf("%v", err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestDecodeJSONClosesAnOversizedUpload(t *testing.T) {
	url := serve(t, Entry(func(w http.ResponseWriter, r *http.Request) error {
		return DecodeJSON(w, r, 10, &order{})
	}, WriteAdminError))
	// A reader of no known length goes out in chunks.
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, io.MultiReader(strings.NewReader(`{"name":"too long"}`)))
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusRequestEntityTooLarge || !res.Close {
		t.Errorf("status %d, closes the connection: %v", res.StatusCode, res.Close)
	}
}

func FuzzDecodeJSON(f *testing.F) {
	for _, s := range []string{
		`{"name":"a","keys":["x"]}`, "\xef\xbb\xbf{}", ` null`, `{}{}`, `{"a":1e999}`, "", "[[[", `{"name":1}`,
		`{"nam\ud800":1}`, "\"\xff\"", `"` + strings.Repeat("a", 200) + `"`, `{"picky":"odd"}`,
	} {
		f.Add([]byte(s))
	}
	const limit = 150
	f.Fuzz(func(t *testing.T, body []byte) {
		var anything any
		err := decode(t, bytes.NewReader(body), limit, &anything, AllowUnknown)
		plain := bytes.TrimPrefix(body, []byte("\xef\xbb\xbf"))
		valid := len(body) <= limit && json.Valid(plain) && !bytes.Equal(bytes.TrimSpace(plain), []byte("null"))
		if refused := err != nil; refused && valid && !strings.Contains(err.Error(), "number") || !refused && !valid {
			t.Fatalf("valid: %v, error: %v", valid, err)
		}
		var o order
		for _, err := range []error{err, decode(t, bytes.NewReader(body), limit, &o)} {
			if err == nil {
				continue
			}
			var e *gateway.Error
			if !errors.As(err, &e) || e.Kind != gateway.KindInvalid && e.Kind != gateway.KindTooLarge {
				t.Fatalf("not an answer: %v", err)
			}
			if e.Message == "" || len(e.Message) > 600 {
				t.Fatalf("message of %d bytes", len(e.Message))
			}
		}
	})
}

func TestWriteJSON(t *testing.T) {
	w := httptest.NewRecorder()
	if err := WriteJSON(w, http.StatusCreated, map[string]string{"a": "<&>"}); err != nil {
		t.Fatal(err)
	}
	if w.Code != 201 || w.Body.String() != `{"a":"<&>"}`+"\n" {
		t.Errorf("%d %q", w.Code, w.Body)
	}
	h := w.Result().Header
	if h.Get("Content-Type") != "application/json" || h.Get("Content-Length") != "12" {
		t.Errorf("header %v", h)
	}
}

func TestWriteJSONWritesNothingThatFails(t *testing.T) {
	w := httptest.NewRecorder()
	if err := WriteJSON(w, http.StatusOK, []any{"begun", func() {}}); err == nil {
		t.Error("a function was encoded")
	}
	if w.Body.Len() > 0 || len(w.Header()) > 0 {
		t.Errorf("wrote %q with %v", w.Body, w.Header())
	}
}

func TestWriteJSONConcurrently(t *testing.T) {
	url := serve(t, Entry(func(w http.ResponseWriter, r *http.Request) error {
		return WriteJSON(w, http.StatusOK, strings.Repeat(r.URL.Query().Get("q"), 1000))
	}, WriteAdminError))
	errs := make(chan error, 8)
	for i := range 8 {
		go func() {
			q := string(rune('a' + i))
			_, body, err := ask(t, url+"/?q="+q)
			if err == nil && body != `"`+strings.Repeat(q, 1000)+"\"\n" {
				err = errors.New("a buffer was shared")
			}
			errs <- err
		}()
	}
	for range 8 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}
