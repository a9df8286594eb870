package app

import (
	"context"
	"errors"
	"log/slog"
	"testing"
)

func TestBrokenLoopIsAFailure(t *testing.T) {
	a, err := Start(t.Context(), settings(t, t.TempDir()), Deps{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken")
	a.loops.Go("test", func(context.Context) error { return broken })
	if err := <-a.Failed(); !errors.Is(err, broken) {
		t.Errorf("the reason is %v, want that of the loop", err)
	}
	if err := a.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}
