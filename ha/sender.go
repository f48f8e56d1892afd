package ha

import (
	"errors"
	"net"
	"time"

	"apogee/store"
)

// sendMost is how much is handed to the kernel at once, in as many frames as haTransferBatchSize makes of it.
const sendMost = 1 << 20

// retryLost is how often a place in the log that is not there is looked for again; nothing but a truncated log can bring it back.
const retryLost = time.Second

// sender sends the log to one slave.
type sender struct {
	p     *peer
	st    *store.Store
	next  int64
	heads []byte
	bufs  net.Buffers
	out   net.Buffers // bufs as far as they are not written
	idle  *time.Timer // a heartbeat is due
	stuck *time.Timer // ends the connection if a write takes too long
	pause *time.Timer
}

// send sends the log from where the slave has asked for, as it grows, until the connection ends.
func (p *peer) send() {
	d := &sender{p: p, st: p.s.o.Store()}
	select {
	case <-p.gone:
		return
	case d.next = <-p.start:
	}
	grown := make(chan struct{}, 1)
	defer d.st.Follow(grown)()
	d.idle, d.pause = time.NewTimer(p.s.config().Heartbeat), time.NewTimer(0)
	d.stuck = time.AfterFunc(forever, func() { p.end(errStuck) })
	defer d.idle.Stop()
	defer d.pause.Stop()
	defer d.stuck.Stop()
	for {
		wait, err := d.some()
		if err == nil && wait > 0 {
			d.pause.Reset(wait)
			select {
			case <-p.gone:
				return
			case <-grown:
			case <-d.pause.C:
			case <-d.idle.C:
				err = d.heartbeat()
			}
		}
		if err != nil {
			p.end(err)
			return
		}
	}
}

// forever is longer than anything else that is waited for.
const forever = 24 * time.Hour

// some sends what there is, up to sendMost, and tells for how long there will be no more, as far as is known.
func (d *sender) some() (wait time.Duration, err error) {
	if d.p.lost.Load() {
		return forever, nil
	}
	c := d.p.s.config()
	most := int64(sendMost)
	if c.FlowControl {
		room, later := d.p.meter.room(d.p.s.now(), c.MostPerSec)
		if room == 0 {
			return later, nil
		}
		most = min(most, room)
	}
	piece, err := d.st.ReadLog(d.next, most)
	if errors.Is(err, store.ErrNotInLog) {
		d.p.s.o.Log.Error("what a replica needs next is not in the log any more", "addr", d.p.addr, "err", err)
		d.p.lost.Store(true)
		return retryLost, nil
	}
	if err != nil {
		return 0, err
	}
	if len(piece.Bytes) == 0 {
		return forever, nil
	}
	defer piece.Release()
	return 0, d.write(piece.Bytes, max(c.Batch, 1))
}

// write sends bytes of the log as frames, with one call.
func (d *sender) write(b []byte, batch int) error {
	total := len(b)
	count := (total + batch - 1) / batch
	if cap(d.heads) < count*frameHead {
		d.heads = make([]byte, count*frameHead)
	}
	d.bufs = d.bufs[:0]
	off := d.next
	for i := range count {
		n := min(batch, len(b))
		head := d.heads[i*frameHead : (i+1)*frameHead]
		putFrame(head, off, n)
		d.bufs = append(d.bufs, head, b[:n])
		off, b = off+int64(n), b[n:]
	}
	d.next = off
	d.p.next.Store(off) // before it is sent: the report may come before the call returns
	d.p.meter.take(d.p.s.now(), int64(total))
	return d.flush()
}

func (d *sender) heartbeat() error {
	if cap(d.heads) < frameHead {
		d.heads = make([]byte, frameHead)
	}
	head := d.heads[:frameHead]
	putFrame(head, d.next, 0)
	d.bufs = append(d.bufs[:0], head)
	return d.flush()
}

// flush writes what has been gathered. A slave that takes nothing for haHousekeepingInterval is given up.
func (d *sender) flush() error {
	d.stuck.Reset(d.p.s.config().Housekeeping)
	d.out = d.bufs // which WriteTo consumes
	_, err := d.out.WriteTo(d.p.conn)
	d.stuck.Reset(forever)
	clear(d.bufs)
	d.idle.Reset(d.p.s.config().Heartbeat)
	return err
}

var errStuck = errors.New("it took nothing for haHousekeepingInterval")
