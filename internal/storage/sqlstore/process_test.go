package sqlstore

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"testing"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/testkit/servers"
)

// What the test binary is told when it is to be another process.
const (
	childPath  = "SQLSTORE_TEST_CHILD"   // the database; set at all: be the child
	childFirst = "SQLSTORE_TEST_FIRST"   // the number of its first batch
	childCount = "SQLSTORE_TEST_COUNT"   // how many batches, 0: until it is killed
	perBatch   = 25                      // keys in a batch
	everyBatch = "batch %d is written\n" // said after each batch was acknowledged
)

func TestMain(m *testing.M) {
	if path := os.Getenv(childPath); path != "" {
		if err := child(path); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		return
	}
	servers.Main(m)
}

// child writes batches of keys, each with one request counted.
func child(path string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	s, err := Open(ctx, Options{Path: path})
	if err != nil {
		return err
	}
	first, _ := strconv.Atoi(os.Getenv(childFirst))
	count, _ := strconv.Atoi(os.Getenv(childCount))
	for n := first; count == 0 || n < first+count; n++ {
		if err := writeBatch(ctx, s, n); err != nil {
			return err
		}
		fmt.Printf(everyBatch, n)
	}
	return s.Close()
}

func writeBatch(ctx context.Context, s *Store, n int) error {
	added, _, err := s.AddKeys(ctx, gateway.Ollama, yield(someKeys(n*perBatch, (n+1)*perBatch), nil), nil)
	if err == nil && added != perBatch {
		err = fmt.Errorf("batch %d: %d keys added", n, added)
	}
	if err != nil {
		return err
	}
	return s.Apply(ctx, []gateway.Delta{{Provider: gateway.Ollama, Global: gateway.Counts{Requests: 1}}})
}

// startChild starts the child and gives the lines that it says.
func startChild(t *testing.T, path string, first, count int) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), childPath+"="+path, childFirst+"="+strconv.Itoa(first), childCount+"="+strconv.Itoa(count))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, bufio.NewScanner(out)
}

// wantBatch reads the next line of a child.
func wantBatch(t *testing.T, lines *bufio.Scanner, n int) {
	t.Helper()
	if !lines.Scan() || lines.Text()+"\n" != fmt.Sprintf(everyBatch, n) {
		t.Fatalf("another process says %q, %v; want that batch %d is written", lines.Text(), lines.Err(), n)
	}
}

func TestKilledWriter(t *testing.T) {
	t.Parallel()
	path := t.TempDir() + "/pool.db"
	next := 0
	for round := range 5 {
		cmd, lines := startChild(t, path, next, 0)
		for range 3 + 4*round {
			wantBatch(t, lines, next)
			next++
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		for lines.Scan() { // what it had still said
			next++
		}
		_ = cmd.Wait()

		s := mustOpen(t, Options{Path: path})
		keys := all(t, s, gateway.Ollama)
		total, err := s.Totals(t.Context(), gateway.Ollama)
		if err != nil {
			t.Fatal(err)
		}
		for n := range next * perBatch {
			if _, found := keys[secretOf(n)]; !found {
				t.Fatalf("round %d: key %d was acknowledged and is gone", round, n)
			}
		}
		// One batch more may have been written without a word.
		if len(keys)%perBatch != 0 || len(keys) > (next+1)*perBatch {
			t.Errorf("round %d: %d keys after %d batches of %d", round, len(keys), next, perBatch)
		}
		if n := int(total.Requests); n < next || n > len(keys)/perBatch {
			t.Errorf("round %d: %d requests after %d batches", round, n, next)
		}
		for len(keys) > next*perBatch || int(total.Requests) > next { // go on behind it
			if len(keys) > next*perBatch && int(total.Requests) == next {
				apply(t, s, gateway.Delta{Provider: gateway.Ollama, Global: gateway.Counts{Requests: 1}})
			}
			next++
			total.Requests = int64(next)
		}
		mustClose(t, s)
	}
}

func TestTwoProcesses(t *testing.T) {
	t.Parallel()
	path := t.TempDir() + "/pool.db"
	s := mustOpen(t, Options{Path: path})
	const rounds = 20
	cmd, lines := startChild(t, path, 1000, rounds)
	wantBatch(t, lines, 1000)
	if changed, err := s.ChangedElsewhere(t.Context()); !changed || err != nil {
		t.Errorf("what another process wrote is not noticed: %v, %v", changed, err)
	}
	for n := range rounds {
		if err := writeBatch(t.Context(), s, n); err != nil {
			t.Error(err)
		}
		if found := len(all(t, s, gateway.Ollama)); found%perBatch != 0 {
			t.Errorf("%d keys are seen: half a batch", found)
		}
	}
	for n := 1001; n < 1000+rounds; n++ {
		wantBatch(t, lines, n)
	}
	if lines.Scan() {
		t.Errorf("another process says %q", lines.Text())
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	total, err := s.Totals(t.Context(), gateway.Ollama)
	if err != nil || total.Requests != 2*rounds {
		t.Errorf("%d requests, %v; want %d", total.Requests, err, 2*rounds)
	}
	if n := len(all(t, s, gateway.Ollama)); n != 2*rounds*perBatch {
		t.Errorf("%d keys, want %d", n, 2*rounds*perBatch)
	}
}
