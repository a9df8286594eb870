package upstream

import (
	"io"
	"sync"
)

// bufferSize holds the head of nearly every answer, and all of a short one.
const bufferSize = 4 << 10

var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// buffer holds bytes that have come and are not used up yet. It has memory only
// while there are any.
type buffer struct {
	b    []byte
	r, w int
}

func (b *buffer) bytes() []byte { return b.b[b.r:b.w] }

// skip uses up n bytes.
func (b *buffer) skip(n int) {
	if b.r += n; b.r == b.w {
		b.free()
	}
}

// free lets go of the memory, with what is in it.
func (b *buffer) free() {
	if len(b.b) == bufferSize {
		buffers.Put((*[bufferSize]byte)(b.b))
	}
	*b = buffer{}
}

// fill reads more, and makes room for it where there is none.
func (b *buffer) fill(c *conn) error {
	switch {
	case b.b == nil:
		array, _ := buffers.Get().(*[bufferSize]byte)
		b.b = array[:]
	case b.w < len(b.b):
	case b.r > 0:
		b.w = copy(b.b, b.b[b.r:b.w])
		b.r = 0
	default:
		larger := buffer{b: make([]byte, 2*len(b.b)), w: len(b.b)}
		copy(larger.b, b.b)
		b.free()
		*b = larger
	}
	n, err := c.read(b.b[b.w:])
	b.w += n
	if n == 0 && err == nil {
		err = io.ErrNoProgress
	}
	return err
}
