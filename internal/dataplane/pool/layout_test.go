package pool

import (
	"testing"
	"unsafe"
)

// A pick reads one line of the processor's cache per key as long as entries
// begin at a multiple of 32 bytes and what it reads stands in the first 32.
func TestEntryFitsTheCache(t *testing.T) {
	var e entry
	if size := unsafe.Sizeof(e); size%32 != 0 {
		t.Errorf("an entry has %d bytes", size)
	}
	if end := unsafe.Offsetof(e.excused) + unsafe.Sizeof(e.excused); end > 32 {
		t.Errorf("what a pick reads ends at byte %d", end)
	}
}
