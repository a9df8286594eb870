package sqlstore

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
)

var writeGolden = flag.Bool("golden", false, "write testdata/spooled-1.txt anew")

// fillAll makes a value of which no part is zero, each different from the others.
func fillAll(t *testing.T, v reflect.Value, n *int64) {
	t.Helper()
	*n++
	switch x := v.Addr().Interface().(type) {
	case *time.Time:
		*x = noon.Add(time.Duration(*n) * time.Microsecond)
		return
	case *netip.Addr:
		*x = netip.AddrFrom4([4]byte{10, 0, byte(*n >> 8), byte(*n)})
		return
	case *gateway.Secret:
		t.Fatal("a batch holds a secret: it must not be written down as it is")
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fillAll(t, v.Field(i), n)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fallthrough
	case reflect.Array:
		for i := range v.Len() {
			fillAll(t, v.Index(i), n)
		}
	case reflect.String:
		v.SetString(fmt.Sprint("text ", *n, " <ü>"))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(*n)
	case reflect.Uint8:
		v.SetUint(1 + uint64(*n)%2)
	default:
		t.Fatalf("a batch holds a %s: teach this test to fill it", v.Type())
	}
}

func wholeDelta(t *testing.T) gateway.Delta {
	t.Helper()
	var d gateway.Delta
	var n int64
	fillAll(t, reflect.ValueOf(&d).Elem(), &n)
	return d
}

// TestSpooledBatchesAreWhole fails as soon as a batch gets a field that is lost
// on its way through the spool.
func TestSpooledBatchesAreWhole(t *testing.T) {
	want := []gateway.Delta{wholeDelta(t), {Provider: gateway.OpenRouter}}
	text, err := packDeltas(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := unpackDeltas(text)
	if err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "what comes back", got, want)
}

// TestSpoolOfFormerVersions reads what this version has written once: what waits
// on a disk must be read after an upgrade.
func TestSpoolOfFormerVersions(t *testing.T) {
	path := filepath.Join("testdata", "spooled-1.txt")
	text := string(mustRead(t, path))
	if *writeGolden {
		var err error
		if text, err = packDeltas([]gateway.Delta{wholeDelta(t)}); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := unpackDeltas(text)
	if err != nil {
		t.Fatal(err)
	}
	// A later version may have fields that the text lacks; none that it has may
	// be lost. So what was read is compared with the members of the text.
	form, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	was, err := unpackText(text)
	if err != nil {
		t.Fatal(err)
	}
	var before, after any
	if err := json.Unmarshal(was, &before); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(form, &after); err != nil {
		t.Fatal(err)
	}
	wantKept(t, "deltas", before, after)
}

// wantKept checks that everything in before is in after.
func wantKept(t *testing.T, place string, before, after any) {
	t.Helper()
	switch b := before.(type) {
	case map[string]any:
		a, _ := after.(map[string]any)
		for name, value := range b {
			wantKept(t, place+"."+name, value, a[name])
		}
	case []any:
		a, _ := after.([]any)
		if len(a) < len(b) {
			t.Errorf("%s has %d parts, had %d", place, len(a), len(b))
			return
		}
		for i := range b {
			wantKept(t, fmt.Sprint(place, "[", i, "]"), b[i], a[i])
		}
	default:
		if before != after {
			t.Errorf("%s is %v, was %v", place, after, before)
		}
	}
}

func conformSpool(t *testing.T, open openStore) {
	s := open(Options{})
	ctx := t.Context()
	batches := []gateway.Batch{one("run 1", 4), one("run 1", 5), one("run 2", 1)}
	batches[1].Deltas[0].States = []gateway.StateChange{{Key: "0123456789abcdef", Version: 3, State: gateway.KeyState{RestsUntil: noon}}}
	for _, b := range batches {
		if err := s.Spool(ctx, b); err != nil {
			t.Fatal(err)
		}
	}
	again := open(Options{}) // after a restart
	read := func(limit int) (got []gateway.Batch, ids []int64) {
		t.Helper()
		list, err := again.Spooled(ctx, limit)
		if err != nil {
			t.Fatal(err)
		}
		for _, one := range list {
			if one.Err != nil {
				t.Errorf("row %d: %v", one.ID, one.Err)
			}
			got, ids = append(got, one.Batch), append(ids, one.ID)
		}
		return got, ids
	}
	got, ids := read(0)
	wantEqual(t, "spooled batches", got, batches)
	if got, _ := read(2); len(got) != 2 || got[0].Number != 4 {
		t.Errorf("the first two: %+v", got)
	}
	if err := again.DropSpooled(ctx, ids[0], ids[2], 999); err != nil {
		t.Fatal(err)
	}
	if got, _ := read(0); len(got) != 1 || got[0].Number != 5 {
		t.Errorf("what is left: %+v", got)
	}

	// A damaged row stands in nobody's way.
	good, err := packDeltas(batches[0].Deltas)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"", "2:later", "1:%%%", spoolForm + "AAAA", good[:len(good)/2], good[:20] + "A" + good[21:]} {
		if _, err := s.writer.ExecContext(ctx, "insert into pool_spool (store, writer, number, batch) values ('', 'run 3', 9, ?)", text); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Spool(ctx, one("run 4", 1)); err != nil {
		t.Fatal(err)
	}
	list, err := s.Spooled(ctx, 0)
	if err != nil || len(list) != 8 || list[7].Batch.Writer != "run 4" || list[7].Err != nil {
		t.Fatalf("%d rows, %v", len(list), err)
	}
	for _, one := range list[1:7] {
		if one.Err == nil || one.Batch.Writer != "run 3" || one.Batch.Number != 9 || one.Batch.Deltas != nil || strings.Contains(one.Err.Error(), "\n") {
			t.Errorf("a damaged row: %+v", one)
		}
	}
}

func FuzzUnpackDeltas(f *testing.F) {
	good, err := packDeltas([]gateway.Delta{{Provider: gateway.Ollama, Global: gateway.Counts{Requests: 1}}})
	if err != nil {
		f.Fatal(err)
	}
	for _, text := range []string{good, "", "1:", "2:x", good[:len(good)-3]} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		deltas, err := unpackDeltas(text)
		if err != nil {
			return
		}
		again, err := packDeltas(deltas)
		if err != nil {
			return // a time that JSON can read but not write
		}
		if got, err := unpackDeltas(again); err != nil || !reflect.DeepEqual(got, deltas) {
			t.Errorf("%+v comes back as %+v, %v", deltas, got, err)
		}
	})
}

func BenchmarkSpool(b *testing.B) {
	s := mustOpen(b, Options{Path: filepath.Join(b.TempDir(), "local.db")})
	ids := slices.Collect(func(yield func(gateway.KeyID) bool) {
		for n := range 1000 {
			if !yield(gateway.IDOfKey(secretOf(n))) {
				return
			}
		}
	})
	batch := gateway.Batch{Writer: "run", Deltas: []gateway.Delta{busyBatch(ids)}}
	var n int64
	for b.Loop() {
		n++
		batch.Number = n
		if err := s.Spool(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
	}
}
