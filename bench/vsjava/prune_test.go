package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"apogee/internal/testkit"
)

// withSegments is a broker that does not run, with so many segments.
func withSegments(t *testing.T, dir string, n int) *subject {
	t.Helper()
	x := &subject{target: testkit.Apogee{}, dir: dir}
	log := filepath.Join(x.storeDir(), "commitlog")
	if err := os.MkdirAll(log, 0o755); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if err := os.WriteFile(filepath.Join(log, fmt.Sprintf("%020d", i*segmentBytes)), []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return x
}

func TestDeleteSegmentsLeavesTheLast(t *testing.T) {
	x, asked := withSegments(t, t.TempDir(), 7), 0
	err := deleteSegments(t.Context(), x, func() error { // as a broker does: what is old goes
		asked++
		for _, name := range x.logFiles() {
			st, err := os.Stat(name)
			if err != nil {
				return err
			}
			if time.Since(st.ModTime()) > time.Hour {
				if err := os.Remove(name); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if first, last := segments(x); err != nil || asked != 1 || first != 7-kept || last != 6 {
		t.Errorf("%v, asked %d times: segments %d to %d are left, want the last %d of 7", err, asked, first, last, kept)
	}
}

func TestDeleteSegmentsEnds(t *testing.T) {
	odd := errors.New("odd")
	if err := deleteSegments(t.Context(), withSegments(t, t.TempDir(), 7), func() error { return odd }); !errors.Is(err, odd) {
		t.Errorf("a broker that refuses: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	err := deleteSegments(ctx, withSegments(t, t.TempDir(), 7), func() error {
		cancel()
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("a run that is ended: %v", err)
	}
	err = deleteSegments(t.Context(), withSegments(t, t.TempDir(), kept+1), func() error { return odd })
	if err != nil {
		t.Errorf("nothing to delete: %v", err)
	}
}

// signalled is a server that notes what it is sent.
type signalled struct {
	testkit.Server
	got []os.Signal
}

func (s *signalled) Signal(sig os.Signal) error {
	s.got = append(s.got, sig)
	return nil
}

// Brokers that have been awake for long enough are both frozen when the load begins.
func TestAwaitDeletionsFreezes(t *testing.T) {
	p := &pair{dir: t.TempDir()}
	for range 2 {
		p.subjects = append(p.subjects, &subject{broker: &signalled{}, since: time.Now().Add(-2 * firstDeletion)})
	}
	if err := p.awaitDeletions(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i, x := range p.subjects {
		if got, want := x.broker.(*signalled).got, []os.Signal{syscall.SIGCONT, syscall.SIGSTOP}; !slices.Equal(got, want) {
			t.Errorf("broker %d got %v, want %v", i, got, want)
		}
	}
}

// A disk with enough room is left alone; one without makes it of what there is.
func TestPruneLooksAtTheRoom(t *testing.T) {
	for _, c := range []struct {
		room int
		told int
	}{{0, 0}, {math.MaxInt32, 2}} {
		var log bytes.Buffer
		dir := t.TempDir()
		p := &pair{session: &session{settings: settings{room: c.room}, log: &log}, dir: dir}
		for i := range 2 {
			p.subjects = append(p.subjects, withSegments(t, filepath.Join(dir, fmt.Sprint(i)), kept))
		}
		if err := p.prune(t.Context()); err != nil {
			t.Error(err)
		}
		if n := strings.Count(log.String(), "had 2 segments, 2 are left"); n != c.told {
			t.Errorf("%d GB wanted: %d brokers were looked at, want %d:\n%s", c.room, n, c.told, &log)
		}
	}
}
