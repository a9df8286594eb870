package upstream

import "io"

// How the end of a body is told (RFC 9112, section 6.3).
type framing uint8

const (
	noBody framing = iota
	byLength
	byChunks
	byClose // by the end of the connection
)

// Limits of what stands between the data of a chunked body.
const (
	maxSizeLine   = 4 << 10  // a chunk's size with its extensions
	maxTrailer    = 4 << 10  // the fields after the last chunk
	maxNonData    = 16 << 10 // in excess of what small chunks cost
	freePerChunk  = 16
	maxSizeDigits = 15
)

// Where in a chunked body the next byte stands.
type place uint8

const (
	atSize    place = iota // the first digit of a chunk's size
	inSize                 // more digits
	afterSize              // blanks after the size
	inExt                  // an extension
	sizeLF                 // the end of the line
	inData
	dataCR // the line end after the data
	dataLF
	tailLine // the beginning of a line after the last chunk
	inTail
	tailLF // the end of the empty line
)

// frame finds the data of a body among the bytes of a connection.
type frame struct {
	kind   framing
	last   bool // the connection cannot be used for another answer
	place  place
	line   int   // bytes of this size line
	digits int   // of the size
	left   int64 // data still to come: of the body, or of this chunk
	excess int64 // bytes that are no data, beyond what is usual
	tail   []byte
}

// next moves data from src to dst: n bytes of data out of used bytes of src. It
// stops where dst is full and more data follow, and at the end of the body,
// which io.EOF tells together with the last data. dst and src may begin at the
// same place: what is written never overtakes what is read.
func (f *frame) next(dst, src []byte) (n, used int, err error) {
	switch f.kind {
	case byChunks:
		return f.chunks(dst, src)
	case byClose:
		n = move(dst, src)
		return n, n, nil
	case byLength:
		n = move(dst, src[:min(f.left, int64(len(src)))])
		f.left -= int64(n)
	}
	if f.left == 0 {
		err = io.EOF
	}
	return n, n, err
}

// move is copy, but leaves alone what is in its place already.
func move(dst, src []byte) int {
	if len(dst) > 0 && len(src) > 0 && &dst[0] == &src[0] {
		return min(len(dst), len(src))
	}
	return copy(dst, src)
}

func (f *frame) chunks(dst, src []byte) (n, used int, err error) {
	for used < len(src) {
		if f.place != inData {
			over, err := f.step(src[used])
			used++
			switch {
			case err != nil:
				return n, used, err
			case over:
				return n, used, io.EOF
			}
			continue
		}
		k := move(dst[n:], src[used:used+int(min(f.left, int64(len(src)-used)))])
		if k == 0 {
			return n, used, nil
		}
		n, used, f.left = n+k, used+k, f.left-int64(k)
		if f.left == 0 {
			f.place = dataCR
		}
	}
	return n, used, nil
}

// step takes one byte of what is not data. It reports whether it was the last
// of the body.
func (f *frame) step(c byte) (over bool, err error) {
	switch f.place {
	case atSize, inSize, afterSize, inExt, sizeLF:
		return false, f.sizeLine(c)
	case dataCR, dataLF:
		if c != "\r\n"[f.place-dataCR] {
			return false, malformed("a chunk longer than its size")
		}
		if f.place++; f.place > dataLF {
			f.place = atSize
		}
		return false, nil
	}
	return f.trailer(c)
}

// sizeLine takes one byte of "1a2b;extension\r\n".
func (f *frame) sizeLine(c byte) error {
	if f.place == atSize {
		f.line, f.digits, f.left, f.place = 0, 0, 0, inSize
	}
	if f.line++; f.line > maxSizeLine {
		return malformed("a chunk's size line is too long")
	}
	switch {
	case f.place == sizeLF:
		if c != '\n' {
			return malformed("a carriage return inside a chunk's size line")
		}
		return f.beginChunk()
	case f.place == inSize && isHex(c):
		if f.digits++; f.digits > maxSizeDigits {
			return malformed("a chunk's size is too large")
		}
		f.left = f.left<<4 | hexValue(c)
		return nil
	case f.digits == 0:
		return malformed("a chunk's size is no number")
	case c == '\r':
		f.place = sizeLF
	case f.place == inExt:
		if class[c]&inValue == 0 {
			return malformed("a control character in a chunk's extension")
		}
	case c == ';':
		f.place = inExt
	case c == ' ' || c == '\t':
		f.place = afterSize
	default:
		return malformed("a chunk's size is no number")
	}
	return nil
}

// beginChunk goes on after a size line. Each chunk may cost a little, and
// something for its data; more would be a way to make us read for nothing.
func (f *frame) beginChunk() error {
	f.excess = max(0, f.excess+int64(f.line)-freePerChunk-2*min(f.left, maxNonData))
	switch {
	case f.excess > maxNonData:
		return malformed("too much that is no data between chunks")
	case f.left == 0:
		f.place = tailLine
	default:
		f.place = inData
	}
	return nil
}

// trailer takes one byte of what follows the last chunk.
func (f *frame) trailer(c byte) (over bool, err error) {
	switch {
	case f.place == tailLF:
		if c != '\n' {
			return false, malformed("a carriage return inside the trailer")
		}
		return true, nil
	case f.place == tailLine && c == '\r':
		f.place = tailLF
		return false, nil
	case len(f.tail) >= maxTrailer:
		return false, malformed("the trailer is too long")
	}
	f.tail = append(f.tail, c)
	if f.place = inTail; c == '\n' {
		f.place = tailLine
	}
	return false, nil
}

// cut tells what the end of the connection means at this place of the body.
func (f *frame) cut() error {
	if f.kind == byClose {
		return io.EOF
	}
	return io.ErrUnexpectedEOF
}

func isHex(c byte) bool { return class[c]&inHex != 0 }

func hexValue(c byte) int64 {
	if c <= '9' {
		return int64(c - '0')
	}
	return int64(c|0x20-'a') + 10
}
