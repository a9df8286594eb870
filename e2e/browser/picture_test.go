package browser

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"math"
	"slices"
	"testing"
)

// small is a picture with 256 colours at most, which takes a third of the room.
// A page has few colours, and those at the edges of letters between them.
func small(data []byte) ([]byte, error) {
	in, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("read a screenshot: %w", err)
	}
	b := in.Bounds()
	full := image.NewRGBA(b)
	draw.Draw(full, b, in, b.Min, draw.Src)
	counts := map[uint32]int{}
	eachRun(full, func(c uint32, _, n int) { counts[c] += n })
	colours, index := palette(counts, 256)
	out := image.NewPaletted(b, colours)
	eachRun(full, func(c uint32, at, n int) {
		for i := at; i < at+n; i++ {
			out.Pix[i] = index[c]
		}
	})
	var file bytes.Buffer
	enc := png.Encoder{CompressionLevel: png.BestCompression}
	if err := enc.Encode(&file, out); err != nil {
		return nil, fmt.Errorf("write a screenshot: %w", err)
	}
	return file.Bytes(), nil
}

// eachRun tells of each run of dots of one colour: the colour, where it begins,
// and how long it is.
func eachRun(of *image.RGBA, tell func(c uint32, at, n int)) {
	dots := len(of.Pix) / 4
	for at := 0; at < dots; {
		c := binary.BigEndian.Uint32(of.Pix[4*at:])
		n := 1
		for at+n < dots && binary.BigEndian.Uint32(of.Pix[4*(at+n):]) == c {
			n++
		}
		tell(c, at, n)
		at += n
	}
}

// shade is a colour of a picture, red, green and blue, and how often it is there.
type shade struct {
	c     uint32
	parts [3]float64
	n     float64
}

// palette chooses so many colours, and says for each of the picture which one
// stands for it. The box of all is cut in two, again and again, where it is
// widest; its most frequent colour stands for a box, so that areas keep theirs.
func palette(counts map[uint32]int, most int) (color.Palette, map[uint32]uint8) {
	var all []shade
	for c, n := range counts {
		all = append(all, shade{c, [3]float64{float64(c >> 24), float64(c >> 16 & 255), float64(c >> 8 & 255)}, float64(n)})
	}
	slices.SortFunc(all, func(a, b shade) int { return cmp.Compare(a.c, b.c) })
	boxes := [][]shade{all}
	for len(boxes) < most {
		at, by, worst := 0, 0, 0.0
		for n, box := range boxes {
			if part, error := spread(box); error > worst {
				at, by, worst = n, part, error
			}
		}
		if worst == 0 {
			break // there are no more colours
		}
		low, high := halves(boxes[at], by)
		boxes[at] = low
		boxes = append(boxes, high)
	}
	var colours color.Palette
	index := map[uint32]uint8{}
	for n, box := range boxes {
		best := slices.MaxFunc(box, func(a, b shade) int { return cmp.Compare(a.n, b.n) }).c
		colours = append(colours, color.RGBA{uint8(best >> 24), uint8(best >> 16), uint8(best >> 8), 255})
		for _, s := range box {
			index[s.c] = uint8(n)
		}
	}
	return colours, index
}

// spread is in which part the colours of a box differ most, and by how much.
// What is there seldom counts more than its dots: it may be an icon.
func spread(box []shade) (part int, most float64) {
	for p := range 3 {
		var sum, squares, weight float64
		for _, s := range box {
			w := math.Sqrt(s.n)
			sum, squares, weight = sum+w*s.parts[p], squares+w*s.parts[p]*s.parts[p], weight+w
		}
		if error := squares - sum*sum/weight; error > most && error > 1e-6*squares {
			part, most = p, error
		}
	}
	return part, most
}

// halves cuts a box at the mean of a part.
func halves(box []shade, part int) (low, high []shade) {
	var sum, weight float64
	for _, s := range box {
		sum, weight = sum+math.Sqrt(s.n)*s.parts[part], weight+math.Sqrt(s.n)
	}
	for _, s := range box {
		if s.parts[part] <= sum/weight {
			low = append(low, s)
		} else {
			high = append(high, s)
		}
	}
	return low, high
}

// TestSmall looks at what is left of a picture with more colours than 256.
func TestSmall(t *testing.T) {
	t.Parallel()
	in := image.NewRGBA(image.Rect(0, 0, 400, 100))
	for x := range 400 {
		for y := range 100 {
			in.SetRGBA(x, y, color.RGBA{uint8(x * 255 / 400), uint8(y * 2), 90, 255})
		}
	}
	draw.Draw(in, image.Rect(0, 0, 400, 40), image.NewUniform(color.RGBA{248, 247, 244, 255}), image.Point{}, draw.Src)
	var file bytes.Buffer
	if err := png.Encode(&file, in); err != nil {
		t.Fatal(err)
	}
	data, err := small(file.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	out, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	if p, ok := out.(*image.Paletted); !ok || len(p.Palette) > 256 || out.Bounds() != in.Bounds() {
		t.Fatalf("it is %T, %v", out, out.Bounds())
	}
	for _, at := range []image.Point{{10, 10}, {399, 39}, {0, 60}, {200, 80}, {399, 99}} {
		r, g, b, _ := out.At(at.X, at.Y).RGBA()
		want := in.RGBAAt(at.X, at.Y)
		far := math.Abs(float64(r>>8)-float64(want.R)) + math.Abs(float64(g>>8)-float64(want.G)) + math.Abs(float64(b>>8)-float64(want.B))
		if far > 24 || at.Y < 40 && far > 0 {
			t.Errorf("at %v it is %d %d %d, not %v", at, r>>8, g>>8, b>>8, want)
		}
	}
}
