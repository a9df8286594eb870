// Package llama stands in for llama.cpp.
package llama

import "errors"

// Model is a model in memory, of which there are none.
type Model struct{}

// ModelParams says how a model is loaded.
type ModelParams struct{ VocabOnly bool }

var errNone = errors.New("this build loads no models")

// LoadModelFromFile refuses.
func LoadModelFromFile(string, ModelParams) (*Model, error) { return nil, errNone }

// FreeModel has nothing to free.
func FreeModel(*Model) {}

// SchemaToGrammar knows no grammar.
func SchemaToGrammar([]byte) []byte { return nil }

// Tokenize refuses.
func (*Model) Tokenize(string, bool, bool) ([]int, error) { return nil, errNone }

// TokenToPiece knows no tokens.
func (*Model) TokenToPiece(int) string { return "" }
