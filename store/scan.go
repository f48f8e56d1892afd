package store

import (
	"errors"
	"runtime"
	"sync"

	"apogee/store/record"
)

// Recovery reads the log with all processors. The goroutine that recovers cuts the file that it is at into pieces, by going from record to
// record by their sizes; workers check the records of a piece and find out what their queues have to know; then the first goroutine
// gives that to the queues, in the order of the log. There are never more than a few pieces under way, so memory is bounded.

// piece is a part of a file.
type piece struct {
	f     *mappedFile
	start int64 // log offset
	size  int   // up to where it was cut; 0 for a piece that goes on to where the records end

	found   []finding
	records int64
	last    extent        // the last valid record
	stop    int64         // where the valid records end
	bad     error         // what is there instead of a record; nil if the piece was valid up to its end
	head    record.Header // of that, as far as it goes
	doubt   string        // why a record is not believed that looks valid
	err     error         // a fault

	done chan struct{}
}

// finding is what a queue has to know of a record.
type finding struct {
	q    *queue // nil: it gets no entry
	phys int64
	unit int64
	tags int64
	time int64
	size int32
	slow bool // goes to several queues, or is a batch: it is read once more
}

const (
	pieceMost  = 1 << 20
	pieceLeast = 4 << 10 // a share of small files
	// piecesAhead is how many pieces each worker may be ahead of the goroutine that takes them.
	piecesAhead = 3
)

// scanner is the pieces that are under way.
type scanner struct {
	r       *recovery
	each    int // bytes of a piece
	workers int
	todo    chan *piece // nil as long as there are no workers
	wait    sync.WaitGroup
	queue   []*piece // under way, in the order of the log
	free    []*piece
}

func newScanner(r *recovery) *scanner {
	return &scanner{
		r: r, each: int(min(max(r.s.commit.files.fileSize/16, pieceLeast), pieceMost)), workers: max(runtime.GOMAXPROCS(0), 2),
	}
}

// close ends the workers.
func (c *scanner) close() {
	if c.todo != nil {
		close(c.todo)
		c.wait.Wait()
	}
}

// file scans one file from an offset to where its valid records end, and returns the piece that ends there, for as long as nothing else is
// scanned.
func (c *scanner) file(f *mappedFile, off int64) (*piece, error) {
	if err := f.hold(); err != nil {
		return nil, err
	}
	defer f.release()
	defer c.drop()
	for cut := false; ; {
		for !cut && len(c.queue) < c.workers*piecesAhead {
			p, err := c.cut(f, off)
			if err != nil {
				return nil, err
			}
			off += int64(p.size)
			cut = p.size == 0
			c.start(p, cut && len(c.queue) == 0)
			c.queue = append(c.queue, p)
		}
		p := c.queue[0]
		<-p.done
		if p.err != nil {
			return nil, p.err
		}
		if err := c.r.take(p); err != nil {
			return nil, err
		}
		if p.bad != nil || p.doubt != "" {
			return p, nil
		}
		c.queue = c.queue[1:]
		c.free = append(c.free, p)
	}
}

// drop waits for what is under way.
func (c *scanner) drop() {
	for _, p := range c.queue {
		<-p.done
		c.free = append(c.free, p)
	}
	c.queue = nil
}

// cut makes the next piece. Its bounds are those of records if the sizes are right; if not, whoever checks the records will find out.
func (c *scanner) cut(f *mappedFile, off int64) (*piece, error) {
	p := &piece{}
	if n := len(c.free); n > 0 {
		p, c.free = c.free[n-1], c.free[:n-1]
	}
	*p = piece{f: f, start: off, found: p.found[:0], done: make(chan struct{})}
	err := f.guard(func() error {
		b, pos := f.data[off-f.base:], 0
		for pos < c.each {
			rest := b[pos:]
			size, ok := record.Starts(rest)
			if !ok {
				return nil // the piece ends where the records do
			}
			pos += size
		}
		p.size = pos
		return nil
	})
	return p, err
}

// start has a piece checked: by a worker, or here and now where it is all there is.
func (c *scanner) start(p *piece, alone bool) {
	if alone {
		c.r.work(p)
		return
	}
	if c.todo == nil {
		c.todo = make(chan *piece, c.workers*piecesAhead)
		for range c.workers {
			c.wait.Go(func() {
				for p := range c.todo {
					c.r.work(p)
				}
			})
		}
	}
	c.todo <- p
}

// work checks the records of a piece.
func (r *recovery) work(p *piece) {
	defer close(p.done)
	p.stop = p.start
	p.err = p.f.guard(func() error {
		b := p.f.data[p.start-p.f.base:]
		h := &p.head
		for pos := 0; p.size == 0 || pos < p.size; {
			rest := b[pos:]
			if p.bad = r.check(rest, h); p.bad != nil {
				return nil
			}
			if p.doubt = r.doubt(p.f, p.stop, h, rest[h.Size:]); p.doubt != "" {
				return nil
			}
			if p.stop >= r.replay {
				p.found = append(p.found, r.finding(p.stop, h))
			}
			p.records++
			p.last = extent{p.stop, p.stop + int64(h.Size)}
			p.stop = p.last.end
			pos += h.Size
		}
		return nil
	})
}

// finding is what dispatch needs of a record.
func (r *recovery) finding(off int64, h *record.Header) finding {
	n := finding{phys: off, size: int32(h.Size), unit: h.QueueOffset, time: h.StoreTimestamp}
	if t := h.Tran(); t == record.SysTranPrepared || t == record.SysTranRollback || h.QueueID < 0 {
		return n
	}
	topic, words := stringView(h.Topic), record.ReadWords(stringView(h.Properties))
	n.q = r.s.queues.getOrCreate(topic, h.QueueID)
	n.tags = record.TagsCode(topic, words.Tags, words.Delay, h.StoreTimestamp, r.s.delays)
	n.slow = words.Multi || n.q.kind == BatchQueue
	return n
}

// take gives the queues what was found in a piece, in order, without telling anybody of arrivals. What they have already is ignored. The
// index catches up by itself, later, from the log.
func (r *recovery) take(p *piece) error {
	if p.records > 0 {
		r.tail = p.last
	}
	r.records += p.records
	if len(p.found) > 0 {
		if r.replayed == 0 && r.s.index != nil {
			r.s.index.replayed(p.found[0].phys)
		}
		r.replayed += int64(len(p.found))
		if err := r.s.replay(p); err != nil {
			return err
		}
	}
	r.tell(p.stop)
	return nil
}

// replay enters what was found in a piece.
func (s *Store) replay(p *piece) error {
	d := s.dispatch
	d.mu.Lock()
	err := p.f.guard(func() error {
		for i := range p.found {
			n := &p.found[i]
			if n.slow {
				var h record.Header
				pos := n.phys - p.f.base
				if err := record.Parse(p.f.data[pos:pos+int64(n.size)], &h); err != nil {
					return err
				}
				h.PhysicalOffset = n.phys
				if err := d.enterRecord(&h, nil); err != nil {
					return err
				}
				continue
			}
			d.lastPhys, d.lastEnd, d.lastTime = n.phys, n.phys+int64(n.size), n.time
			if n.q != nil {
				d.enter(n.q, n.unit, n.phys, n.size, n.tags, n.time)
			}
		}
		return nil
	})
	d.entered.Store(d.entered.Load() + d.fresh)
	d.fresh = 0
	full := d.pending() >= pendingPress
	d.mu.Unlock()
	if full {
		err = errors.Join(err, s.flushQueues(false))
	}
	return err
}
