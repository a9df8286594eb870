package sqlstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
)

func TestSnapshot(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, key := range map[string][]byte{"plain": nil, "sealed": masterKey(1)} {
		t.Run(name, func(t *testing.T) {
			path, to := filepath.Join(dir, name+".db"), filepath.Join(dir, name+".copy")
			s := mustOpen(t, Options{Path: path, EncryptionKey: key})
			add(t, s, gateway.Ollama, someKeys(0, 30)...)
			add(t, s, gateway.OpenRouter, someKeys(30, 32)...)
			for i, providers := range [][]gateway.ProviderName{gateway.Providers(), {gateway.OpenRouter}} {
				err := s.AddToken(t.Context(), gateway.Token{
					Hash: gateway.HashToken(gateway.Secret(fmt.Sprint("fake-token-", i))), Name: "t", Providers: providers, CreatedAt: time.Now(),
				})
				if err != nil {
					t.Fatal(err)
				}
			}
			if err := Snapshot(t.Context(), path, to); err != nil { // while s has it open, and with its log beside it
				t.Fatal(err)
			}
			info, err := os.Stat(to)
			if err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
				t.Errorf("%v, mode %v", err, info.Mode())
			}
			h, err := Examine(t.Context(), to)
			if err != nil || h.Encrypted != (key != nil) || h.Keys[gateway.Ollama] != 30 || h.Keys[gateway.OpenRouter] != 2 || h.Tokens != 2 {
				t.Errorf("%+v, %v", h, err)
			}
			if n := len(all(t, mustOpen(t, Options{Path: to, EncryptionKey: key}), gateway.Ollama)); n != 30 {
				t.Errorf("%d keys in the copy", n)
			}
			if err := Snapshot(t.Context(), path, to); !errors.Is(err, os.ErrExist) {
				t.Errorf("onto a file that is there: %v", err)
			}
		})
	}
}

// A copy that is made while keys come in holds each import whole or not at all.
func TestSnapshotWhileWriting(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "pool.db")
	s := mustOpen(t, Options{Path: path})
	const each, times = 50, 20
	var writing sync.WaitGroup
	writing.Go(func() {
		for i := range times {
			add(t, s, gateway.Ollama, someKeys(i*each, (i+1)*each)...)
		}
	})
	for i := range 5 {
		to := filepath.Join(dir, fmt.Sprint("copy", i))
		if err := Snapshot(t.Context(), path, to); err != nil {
			t.Fatal(err)
		}
		h, err := Examine(t.Context(), to)
		if err != nil || h.Keys[gateway.Ollama]%each != 0 {
			t.Errorf("%+v, %v", h, err)
		}
	}
	writing.Wait()
}

// What a kill left in the log belongs to the copy.
func TestSnapshotAfterKill(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "pool.db")
	s := mustOpen(t, Options{Path: path})
	add(t, s, gateway.Ollama, someKeys(0, 10)...)
	killed := filepath.Join(dir, "killed.db")
	mustWrite(t, killed, mustRead(t, path))
	mustWrite(t, killed+"-wal", mustRead(t, path+"-wal"))
	to := filepath.Join(dir, "copy")
	if err := Snapshot(t.Context(), killed, to); err != nil {
		t.Fatal(err)
	}
	if h, err := Examine(t.Context(), to); err != nil || h.Keys[gateway.Ollama] != 10 {
		t.Errorf("%+v, %v", h, err)
	}
}

func TestSnapshotThatFails(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path, to := filepath.Join(dir, "pool.db"), filepath.Join(dir, "copy")
	gone := func(what string) {
		t.Helper()
		if _, err := os.Stat(to); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s left a file", what)
		}
	}
	wantLine(t, Snapshot(t.Context(), path, to), path, "copy the store", "there is no store")
	_, err := Examine(t.Context(), path)
	wantLine(t, err, path, "examine the store", "there is no store")
	gone("a missing store")

	mustWrite(t, path, bytes.Repeat([]byte("This is a letter.\n"), 1000))
	wantLine(t, Snapshot(t.Context(), path, to), path, "copy the store", "damaged")
	_, err = Examine(t.Context(), path)
	wantLine(t, err, path, "examine the store", "damaged")
	gone("a damaged store")

	s := mustOpen(t, Options{Path: filepath.Join(dir, "sound.db")})
	add(t, s, gateway.Ollama, someKeys(0, 1000)...)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Snapshot(ctx, filepath.Join(dir, "sound.db"), to); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	gone("a cancelled copy")

	whole := filepath.Join(dir, "whole")
	if err := Snapshot(t.Context(), filepath.Join(dir, "sound.db"), whole); err != nil {
		t.Fatal(err)
	}
	b := mustRead(t, whole)
	const page = 4096
	middle := len(b) / 2 / page * page
	copy(b[middle:], make([]byte, page))
	mustWrite(t, whole, b)
	_, err = Examine(t.Context(), whole)
	wantLine(t, err, whole, "damaged")
}
