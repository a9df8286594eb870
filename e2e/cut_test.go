package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"mime/multipart"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
)

// upload is the body of an import in one form.
type upload struct {
	name, path, kind string
	body             []byte
	lastLine         int // where its last line begins
	whole            int // as much of it as must be there for it to be taken
}

const (
	cutMark  = "fake-e2e-cut-"
	cutLines = 40
)

// uploads are the same lines in every form in which they may come.
func uploads(batch string) []upload {
	var text strings.Builder
	var keys []string
	for n := range cutLines {
		line := longLine(n, cutKey(batch, n))
		text.WriteString(line)
		keys = append(keys, strings.TrimSuffix(line, "\n"))
	}
	lastKey := func(b []byte) int { return bytes.LastIndex(b, []byte("user")) }
	plain := []byte(text.String())
	asJSON, err := json.Marshal(map[string]any{"provider": "ollama", "content": text.String()})
	if err != nil {
		panic(err)
	}
	list, err := json.Marshal(map[string]any{"keys": keys})
	if err != nil {
		panic(err)
	}
	var b bytes.Buffer
	form := multipart.NewWriter(&b)
	file, err := form.CreateFormFile("file", "ollama.txt")
	if err != nil {
		panic(err)
	}
	_, _ = file.Write(plain) // in memory
	_ = form.Close()
	all := []upload{
		{name: "text", path: textImport, kind: "text/plain", body: plain},
		{name: "JSON text", path: textImport, kind: "application/json", body: asJSON},
		{name: "JSON list", path: "/admin/api-keys/import", kind: "application/json", body: list},
		{name: "accounts", path: "/admin/import", kind: "application/json", body: bytes.Replace(list, []byte(`"keys"`), []byte(`"accounts"`), 1)},
		{name: "validated", path: validatedImport, kind: "text/plain", body: plain},
		{name: "form", path: textImport, kind: form.FormDataContentType(), body: b.Bytes()},
	}
	for n := range all {
		all[n].lastLine, all[n].whole = lastKey(all[n].body), len(all[n].body)
	}
	all[len(all)-1].whole -= len("\r\n") // what follows the last boundary is nothing
	return all
}

func cutKey(batch string, n int) string { return fmt.Sprintf("%s%s-%06d", cutMark, batch, n) }

// cut is how a call is broken off.
type cut struct {
	at      int  // bytes of the body
	chunked bool // else with a length
	ended   bool // the head and the chunks say that this is all
	reset   bool // the connection is broken off and not closed
}

// broken sends a part of a body and breaks the connection off. It returns the
// status of the answer, 0 if there was none.
func broken(i *Instance, u *upload, c cut, id string) (status int, err error) {
	conn, err := net.Dial("tcp", strings.TrimPrefix(i.URL(), "http://")) //nolint:noctx // on loopback
	if err != nil {
		return 0, err
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(patience))
	length := "Content-Length: " + strconv.Itoa(len(u.body))
	if c.ended {
		length = "Content-Length: " + strconv.Itoa(c.at)
	}
	if c.chunked {
		length = "Transfer-Encoding: chunked"
	}
	if _, err := fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: pool\r\nAuthorization: Bearer %s\r\nX-Request-Id: %s\r\nContent-Type: %s\r\n%s\r\n\r\n",
		u.path, i.AdminToken(), id, u.kind, length); err != nil {
		return 0, err
	}
	part := u.body[:c.at]
	for len(part) > 0 {
		n := min(len(part), 1000)
		if c.chunked {
			_, err = fmt.Fprintf(conn, "%x\r\n%s\r\n", n, part[:n])
		} else {
			_, err = conn.Write(part[:n])
		}
		if err != nil {
			return 0, err
		}
		part = part[n:]
	}
	if c.chunked && c.ended {
		if _, err := io.WriteString(conn, "0\r\n\r\n"); err != nil {
			return 0, err
		}
	}
	if c.ended {
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			return 0, err
		}
		defer func() { _ = resp.Body.Close() }()
		return resp.StatusCode, nil
	}
	if c.reset {
		return 0, conn.(*net.TCPConn).SetLinger(0)
	}
	return 0, nil
}

// TestImportCutOff breaks imports off at many points: all of the keys are there
// afterwards, or none.
func TestImportCutOff(t *testing.T) {
	t.Parallel()
	_, i := checking(t)
	i.secrets.plant(cutMark)
	rnd := rand.New(rand.NewPCG(20, 26))
	batch := 0
	for _, form := range uploads("x") {
		t.Run(form.name, func(t *testing.T) {
			points := []int{0, 1, form.lastLine - 1, form.lastLine, form.lastLine + 9, len(form.body) - 60, form.whole - 1}
			for range 5 {
				points = append(points, rnd.IntN(form.whole))
			}
			for n, at := range points {
				batch++
				name := strconv.Itoa(batch)
				u := uploads(name)[formNumber(form.name)]
				c := cut{at: min(at, u.whole-1), chunked: n%2 == 0, reset: n%3 == 0}
				cutAndCount(t, i, &u, c, name)
				// The other way of sending, and a body that ends where it must not.
				c.chunked = !c.chunked
				cutAndCount(t, i, &u, c, name)
				if form.kind != "text/plain" { // of which every part is a text
					c.ended = true
					cutAndCount(t, i, &u, c, name)
				}
			}
			// After the last byte it is all or none, whatever the client waits for.
			for _, c := range []cut{{chunked: true}, {}, {reset: true}} {
				batch++
				name := strconv.Itoa(batch)
				u := uploads(name)[formNumber(form.name)]
				c.at = len(u.body)
				cutAndCount(t, i, &u, c, name)
			}
		})
	}
	if n := len(i.Keys(gateway.Ollama)); n == 0 || n%cutLines != 0 {
		t.Errorf("%d keys are there", n)
	}
	noSpool(t, i)
	i.Stop()
	searchFiles(t, i, false)
}

func formNumber(name string) int {
	for n, u := range uploads("x") {
		if u.name == name {
			return n
		}
	}
	return -1
}

// cutAndCount breaks an import off and counts its keys.
func cutAndCount(t *testing.T, i *Instance, u *upload, c cut, batch string) {
	t.Helper()
	id := fmt.Sprintf("cut-%s-%v-%v-%d", batch, c.chunked, c.ended, c.at)
	status, err := broken(i, u, c, id)
	if err != nil {
		t.Fatalf("%+v: %v", c, err)
	}
	await(t, "word in the log that the call is over", func() bool { return strings.Contains(i.Err.String(), "request_id="+id+" ") })
	there := get[keyList](t, i, "/admin/api-keys?pageSize=1&fetch=&search="+idOf(cutKey(batch, 0))).Total
	last := get[keyList](t, i, "/admin/api-keys?pageSize=1&fetch=&search="+idOf(cutKey(batch, cutLines-1))).Total
	all := get[keyList](t, i, "/admin/api-keys?pageSize=1").Total
	switch {
	case there != last || all%cutLines != 0:
		t.Errorf("%+v: of the first and the last key %d and %d are there; %d in all", c, there, last, all)
	case c.at < u.whole && there != 0:
		t.Errorf("%+v: all keys were added", c)
	case c.ended && status != http.StatusBadRequest:
		t.Errorf("%+v: answered with %d", c, status)
	}
}

// noSpool expects that nothing is left of a large import.
func noSpool(t *testing.T, i *Instance) {
	t.Helper()
	await(t, "end of every spool", func() bool { return len(spools(t, i)) == 0 })
}

// spools are the files, with a name or without, in which the process keeps what
// it has read of large imports.
func spools(t *testing.T, i *Instance) (all []string) {
	t.Helper()
	named, err := filepath.Glob(filepath.Join(i.Data, "import-*"))
	if err != nil {
		t.Fatal(err)
	}
	if !i.Running() {
		return named
	}
	dir := fmt.Sprintf("/proc/%d/fd", i.PID())
	open, err := os.ReadDir(dir)
	if err != nil {
		return named // no such thing on this system
	}
	for _, e := range open {
		path := filepath.Join(dir, e.Name())
		if to, err := os.Readlink(path); err == nil && strings.Contains(to, "import-") {
			all = append(all, path)
		}
	}
	return append(all, named...)
}

// TestLargeImportCutOff breaks off an import that is too large for memory, and
// looks at the file in which it waits meanwhile.
func TestLargeImportCutOff(t *testing.T) {
	t.Parallel()
	_, i := checking(t)
	i.Kill()
	i.Path = quickProgram(t)
	left := filepath.Join(i.Data, "import-4711.tmp") // as a kill might leave it
	write(t, left, []byte("nobody can read this any more"))
	i.Start()
	noSpool(t, i)
	i.secrets.plant(cutMark)
	var text strings.Builder
	filler := strings.Repeat("x", 400)
	for n := 0; text.Len() < 12<<20; n++ {
		text.WriteString(longLine(n, cutKey(filler, n)))
	}
	u := upload{path: textImport, kind: "text/plain", body: []byte(text.String())}
	for n, end := range []func(conn net.Conn){
		func(conn net.Conn) { _ = conn.Close() },
		func(conn net.Conn) { _ = conn.(*net.TCPConn).SetLinger(0); _ = conn.Close() },
		func(conn net.Conn) { i.Kill(); _ = conn.Close(); i.Start() },
	} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(i.URL(), "http://")) //nolint:noctx // on loopback
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: pool\r\nAuthorization: Bearer %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n",
			u.path, i.AdminToken(), u.kind, len(u.body)); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write(u.body[:len(u.body)-1]); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat("/proc/self/fd"); err == nil {
			var content []byte
			await(t, "spool with something in it", func() bool {
				for _, path := range spools(t, i) {
					if b, err := os.ReadFile(path); err == nil { // it loses its name at once
						content = b
					}
				}
				return len(content) > 1<<20
			})
			for _, secret := range i.secrets.list() {
				if bytes.Contains(content, []byte(secret)) {
					t.Errorf("the spool holds a secret of %d characters", len(secret))
				}
			}
		}
		end(conn)
		noSpool(t, i)
		if got := get[keyList](t, i, "/admin/api-keys?pageSize=1"); got.Total != 0 {
			t.Errorf("after end %d there are %d keys", n, got.Total)
		}
		searchFiles(t, i, false)
	}
	i.Stop()
}

// TestKilledInTheMiddleOfAnImport kills the program at many moments of an import,
// most of them while it writes to the store: all of the keys are there when it
// starts again, or none.
func TestKilledInTheMiddleOfAnImport(t *testing.T) {
	t.Parallel()
	_, i := checking(t)
	i.Kill()
	i.Path = quickProgram(t)
	i.Start()
	i.secrets.plant(cutMark)
	const lines = 5000
	had, none, all := 0, 0, 0
	began := time.Now()
	batch := func(n int) string {
		var text strings.Builder
		for m := range lines {
			text.WriteString(longLine(m, cutKey(strconv.Itoa(n), m)))
		}
		return text.String()
	}
	want[imported](t, i, http.StatusOK, withText(textImport, batch(0)))
	took := time.Since(began)
	had = lines
	for n := 1; n <= 10; n++ {
		answer := make(chan int, 1)
		body := batch(n)
		go func() {
			got, _ := i.Ask(t.Context(), withText(textImport, body)) // it may never come
			answer <- got.Status
		}()
		kill := time.NewTimer(took * time.Duration(n) / 9)
		<-kill.C
		i.Kill()
		status := <-answer
		i.Start()
		got := get[keyList](t, i, "/admin/api-keys?pageSize=1").Total - had
		had += got
		switch {
		case got == lines:
			all++
		case got == 0 && status != http.StatusOK:
			none++
		default:
			t.Errorf("%d of %d keys are there, answered was %d", got, lines, status)
		}
		noSpool(t, i)
	}
	if none == 0 {
		t.Errorf("every import was over before the kill: %d", all)
	}
	i.Stop()
	searchFiles(t, i, false)
}
