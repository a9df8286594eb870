package simulator

import (
	"encoding/base64"
	"encoding/binary"
	"hash/fnv"
	"math"

	"ollama-api-pool/internal/gateway"
)

// How long the vectors are.
const (
	defaultDimensions = 256
	maxDimensions     = 4096
)

// vector makes an embedding of unit length that depends on the text only. It
// means nothing.
func vector(text string, dimensions int) []float32 {
	if dimensions <= 0 || dimensions > maxDimensions {
		dimensions = defaultDimensions
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(text))
	state, sum := h.Sum64()|1, 0.0
	raw := make([]float64, dimensions)
	for i := range raw {
		// xorshift64 (Marsaglia 2003): enough to scatter the numbers.
		state ^= state << 13
		state ^= state >> 7
		state ^= state << 17
		raw[i] = float64(state>>11)/(1<<52) - 1
		sum += raw[i] * raw[i]
	}
	out := make([]float32, dimensions)
	for i, v := range raw {
		out[i] = float32(v / math.Sqrt(sum))
	}
	return out
}

// packed is a vector as OpenAI's API encodes it for encoding_format base64.
func packed(v []float32) string {
	b := make([]byte, 0, 4*len(v))
	for _, f := range v {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(f))
	}
	return base64.StdEncoding.EncodeToString(b)
}

// clip shortens what an answer repeats of its request.
func clip(s string) string { return gateway.Clip(s, echoed) }
