package store

import (
	"context"
	"sync/atomic"
	"time"
)

// How far ahead of the end of the log pages are made present. The window follows the rate, so that an idle broker holds no
// more than the least and a busy one never faults under the append lock.
const (
	warmLeast = 1 << 20
	warmMost  = 64 << 20
	warmPiece = 256 << 10

	warmFast = time.Second      // consumed half a window within this: double it
	warmSlow = 10 * time.Second // took longer than this: halve it

	// Pages so far behind the end are dropped from the process (not from the page cache), in steps: without that the
	// whole file in use counts as the broker's memory. Whoever reads there maps them again, sixteen at a time.
	evictBehind = 32 << 20
	evictStep   = 8 << 20
)

// warmer populates pages of the log ahead of its end. Faulting a page in costs the same wherever it is done, but here no
// put waits for it behind the append lock, nor for the journal that the fault may have to wait for.
type warmer struct {
	l    *commitLog
	mark atomic.Int64 // log offset at which the next window is wanted; 0 at first: with the first put
	ping chan struct{}

	// The loop's own.
	window  int64
	warmed  int64
	evicted int64
	last    time.Time
}

func newWarmer(l *commitLog) *warmer {
	return &warmer{l: l, ping: make(chan struct{}, 1), window: warmLeast}
}

// wake asks for the next window. Called under the append lock.
func (w *warmer) wake() {
	w.mark.Store(noMark)
	select {
	case w.ping <- struct{}{}:
	default:
	}
}

func (w *warmer) loop(ctx context.Context) {
	w.evicted = w.l.end()
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.ping:
		}
		w.adapt()
		w.advance(ctx)
		w.evict()
	}
}

func (w *warmer) adapt() {
	now := w.l.s.now()
	switch took := now.Sub(w.last); {
	case took < warmFast:
		w.window = min(w.window*2, warmMost)
	case took > warmSlow:
		w.window = max(w.window/2, warmLeast)
	}
	w.last = now
}

// advance populates up to a window behind the end and sets the mark for the next time.
func (w *warmer) advance(ctx context.Context) {
	target := w.l.end() + w.window
	for ctx.Err() == nil {
		w.warmed = max(w.warmed, w.l.end()) // what has been overtaken was faulted in by the puts
		if w.warmed >= target {
			break
		}
		f := w.l.files.find(w.warmed)
		if f == nil {
			if f = w.l.alloc.ahead(); f == nil || w.warmed < f.base || w.warmed >= f.end() {
				break // the file is not there yet; its first put will ask again
			}
		}
		n := min(target-w.warmed, warmPiece, f.base+f.reserved.Load()-w.warmed)
		if n <= 0 || !w.populate(f, w.warmed-f.base, n) {
			break
		}
		w.warmed += n
	}
	w.mark.Store(max(w.warmed-w.window/2, w.l.end()+1))
}

func (w *warmer) populate(f *mappedFile, pos, n int64) bool {
	if f.hold() != nil {
		return false
	}
	defer f.release()
	if err := f.mapping.Populate(pos, n); err != nil {
		w.l.s.log.Warn("pages not populated", "file", f.path, "err", err)
		return false
	}
	return true
}

// evict drops pages that are well behind the end.
func (w *warmer) evict() {
	to := w.l.end() - evictBehind
	if to-w.evicted < evictStep {
		return
	}
	for _, f := range w.l.files.from(w.evicted) {
		if f.base >= to {
			break
		}
		if !f.tryHold() { // nobody has it: it will be unmapped as a whole
			continue
		}
		from := max(w.evicted-f.base, 0)
		if err := f.mapping.Evict(from, min(to-f.base, f.size)-from); err != nil {
			w.l.s.log.Debug("pages not evicted", "file", f.path, "err", err)
		}
		f.release()
	}
	w.evicted = to
}
