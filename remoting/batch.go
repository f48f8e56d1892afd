package remoting

// Batch collects answers so that those that go to one connection leave with one write. It is for whoever answers many requests
// at a time, such as a group commit; it is not safe for concurrent use, and what was replied through it isn't on its way
// before Flush.
type Batch struct{ conns []*Conn }

// Reply answers r with the batch.
func (b *Batch) Reply(r Replier, rep *Reply) { r.reply(rep, b) }

// take notes that c has output which waits for Flush. Its lock is held.
func (b *Batch) take(c *Conn) bool {
	if n := len(b.conns); n > 0 && b.conns[n-1] == c {
		return true
	}
	b.conns = append(b.conns, c)
	return true
}

// Flush sends what was collected. The batch can be used again.
func (b *Batch) Flush() {
	for i, c := range b.conns {
		c.mu.Lock()
		if c.batching {
			c.mu.Unlock() // its reader writes soon
		} else {
			c.kickLocked(false)
		}
		b.conns[i] = nil
	}
	b.conns = b.conns[:0]
}
