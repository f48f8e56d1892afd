package ha

import (
	"errors"
	"net"
	"os"
	"time"

	"apogee/internal/clock"
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
	pause *time.Timer

	noted  time.Time // when the slave was told how far this broker is
	inSync bool      // as the log says
}

// noteEvery is how often a slave that is being sent the log is told how far its master is, and looked at.
const noteEvery = time.Second

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
	d.inSync = true
	defer d.idle.Stop()
	defer d.pause.Stop()
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
	now := d.p.s.now()
	d.p.meter.take(now, int64(total))
	if now.Sub(d.noted) >= noteEvery {
		d.look(now)
	}
	return d.flush()
}

func (d *sender) heartbeat() error {
	if cap(d.heads) < frameHead {
		d.heads = make([]byte, frameHead)
	}
	head := d.heads[:frameHead]
	putFrame(head, d.next, 0)
	d.bufs = d.bufs[:0]
	d.look(d.p.s.now())
	d.bufs = append(d.bufs, head)
	return d.flush()
}

// look logs whether the slave keeps up, and has it be told how far this broker is.
func (d *sender) look(now time.Time) {
	d.noted = now
	s := d.p.s
	end := s.end()
	if in := d.p.inSync(end, s.config().MaxGap); in != d.inSync && d.p.ack.Load() >= 0 {
		d.inSync = in
		say, what := s.o.Log.Info, "replica is in sync"
		if !in {
			say, what = s.o.Log.Warn, "replica has fallen behind"
		}
		behind, age := d.p.lag(end, now)
		say(what, "addr", d.p.addr, "id", d.p.id.Load(), "behind", behind, "oldest", age)
	}
	if !d.p.notes {
		return
	}
	note := make([]byte, 2*frameHead) // once a second
	putFrame(note, end, int(ctlEnd))
	putFrame(note[frameHead:], d.st.LastStoreTime(), int(ctlTime))
	d.bufs = append(d.bufs, note)
}

// flush writes what has been gathered. A slave that takes nothing for haHousekeepingInterval is given up; one that takes little is not.
func (d *sender) flush() error {
	d.out = d.bufs // which WriteTo consumes
	limit := d.p.s.config().Housekeeping
	var n int64
	err := os.ErrDeadlineExceeded
	for n = 1; n > 0 && errors.Is(err, os.ErrDeadlineExceeded); {
		if err = d.p.conn.SetWriteDeadline(clock.Now().Add(limit)); err == nil {
			n, err = d.out.WriteTo(d.p.conn)
		}
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = errStuck
	}
	clear(d.bufs)
	d.idle.Reset(d.p.s.config().Heartbeat)
	return err
}

var errStuck = errors.New("it took nothing for haHousekeepingInterval")
