package store

import (
	"context"
	"sync/atomic"
)

// Pages that consumers have read, so far behind the end, are dropped from the process (not from the page cache), in steps:
// without that the whole file in use counts as the broker's memory. Whoever reads there maps them again, sixteen at a time.
const (
	evictBehind = 32 << 20
	evictStep   = 8 << 20
)

// evictor drops mapped pages of the log that are well behind its end.
type evictor struct {
	l       *commitLog
	mark    atomic.Int64 // log offset at which the next step is due
	ping    chan struct{}
	evicted int64 // the loop's own
}

func newEvictor(l *commitLog) *evictor {
	e := &evictor{l: l, ping: make(chan struct{}, 1)}
	e.mark.Store(noMark)
	return e
}

func (e *evictor) wake() {
	e.mark.Store(noMark)
	signal(e.ping)
}

func (e *evictor) loop(ctx context.Context) {
	e.evicted = e.l.end()
	for {
		e.mark.Store(e.evicted + evictBehind + evictStep)
		select {
		case <-ctx.Done():
			return
		case <-e.ping:
			e.advance()
		}
	}
}

func (e *evictor) advance() {
	to := e.l.end() - evictBehind
	for _, f := range e.l.files.from(e.evicted) {
		if f.base >= to {
			break
		}
		if !f.tryHold() { // nobody has it: it will be unmapped as a whole
			continue
		}
		from := max(e.evicted-f.base, 0)
		if err := f.mapping.Evict(from, min(to-f.base, f.size)-from); err != nil {
			e.l.s.log.Debug("pages not evicted", "file", f.path, "err", err)
		}
		f.release()
	}
	e.evicted = max(e.evicted, to)
}
