package processor

import (
	"sync"

	"apogee/remoting"
)

// Answers gives the answers of sends that had to wait for the disk. A group commit completes many at a time, on the store's
// flusher, which must not write to connections: they go through this list to one goroutine, and those that are for one connection leave
// together.
type Answers struct {
	mu     sync.Mutex // guards what follows
	some   sync.Cond
	head   *sendOp
	tail   *sendOp
	closed bool

	done  sync.WaitGroup
	batch remoting.Batch // the goroutine's own
}

// NewAnswers starts the goroutine; Close ends it.
func NewAnswers() *Answers {
	a := new(Answers)
	a.some.L = &a.mu
	a.done.Go(a.run)
	return a
}

// put hands over a send whose outcome is known.
func (a *Answers) put(op *sendOp) {
	op.next = nil
	a.mu.Lock()
	if a.closed { // the broker is ending; what still completes is answered here
		a.mu.Unlock()
		op.replier.Reply(op.finish())
		op.release()
		return
	}
	if a.tail == nil {
		a.head = op
		a.some.Signal()
	} else {
		a.tail.next = op
	}
	a.tail = op
	a.mu.Unlock()
}

func (a *Answers) run() {
	for {
		a.mu.Lock()
		for a.head == nil && !a.closed {
			a.some.Wait()
		}
		op := a.head
		a.head, a.tail = nil, nil
		a.mu.Unlock()
		if op == nil {
			return
		}
		for op != nil {
			next := op.next
			a.batch.Reply(op.replier, op.finish())
			op.release()
			op = next
		}
		a.batch.Flush()
	}
}

// Close answers what is left and ends the goroutine.
func (a *Answers) Close() {
	a.mu.Lock()
	a.closed = true
	a.some.Signal()
	a.mu.Unlock()
	a.done.Wait()
}
