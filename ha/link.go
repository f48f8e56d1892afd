package ha

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"sync"
	"time"

	"apogee/store"
)

// link is a slave's connection to its master.
type link struct {
	c     *Client
	st    *store.Store
	conn  net.Conn
	addr  string
	quit  <-chan struct{} // the client's end
	watch *time.Timer     // closes a connection that is silent

	mu       sync.Mutex // guards reported, and is held across the write of a report
	reported int64
	out      [reportSize]byte
}

// readMost is how much is read, and so written to the log, at once.
const readMost = 256 << 10

// run copies until the connection ends.
func (l *link) run() error {
	l.watch = time.AfterFunc(l.c.o.Config().Housekeeping, func() { _ = l.conn.Close() })
	defer l.watch.Stop()
	head, from, err := l.greet()
	if err != nil {
		return err
	}
	l.c.active.Store(true)
	stop := l.startReports()
	defer stop()
	in := frames{next: from, largest: l.st.LogFileSize()}
	if head != nil { // a Java master's first frame
		if _, _, err := in.feed(head); err != nil {
			return err
		}
	}
	buf := make([]byte, readMost)
	for {
		n, err := l.conn.Read(buf)
		if n > 0 {
			l.heard(n)
			if err := l.take(&in, buf[:n]); err != nil {
				return err
			}
		}
		if err != nil {
			return err
		}
	}
}

func (l *link) heard(n int) {
	now := l.c.o.Now()
	l.c.lastRead.Store(now.UnixMilli())
	l.c.meter.take(now, int64(n))
	l.watch.Reset(l.c.o.Config().Housekeeping)
}

// take appends what was read, and reports.
func (l *link) take(in *frames, b []byte) error {
	if l.c.o.Limited {
		if err := l.slow(); err != nil {
			return err
		}
	}
	off, data, bad := in.feed(b)
	if len(data) > 0 {
		if _, err := l.st.AppendLog(off, data); err != nil {
			return err
		}
	}
	if bad != nil {
		return bad
	}
	return l.report(false)
}

// slow waits while this second has had its share.
func (l *link) slow() error {
	room, wait := l.c.meter.room(l.c.o.Now(), l.c.o.Config().MostPerSec)
	if room > 0 {
		return nil
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-l.quit:
		return net.ErrClosed
	case <-t.C:
		return nil
	}
}

// safe is up to where the master may count on this slave: with SYNC_FLUSH what is on disk.
func (l *link) safe() int64 {
	if l.st.SyncsLog() {
		return l.st.Flushed()
	}
	_, end := l.st.Bounds()
	return end
}

// report tells the master how far this slave is, if it does not know.
func (l *link) report(again bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	to := l.safe()
	if to <= l.reported {
		if !again {
			return nil
		}
		to = l.reported
	}
	l.reported = to
	binary.BigEndian.PutUint64(l.out[:], uint64(to))
	_, err := l.conn.Write(l.out[:])
	l.c.lastWrite.Store(l.c.o.Now().UnixMilli())
	return err
}

// startReports reports every haSendHeartbeatInterval, and, where reports wait for the disk, when it has taken something.
func (l *link) startReports() (stop func()) {
	quit := make(chan struct{})
	grown := make(chan struct{}, 1)
	unfollow := func() {}
	if l.st.SyncsLog() {
		unfollow = l.st.Follow(grown)
	}
	var done sync.WaitGroup
	done.Go(func() {
		beat := time.NewTicker(max(l.c.o.Config().Heartbeat, time.Millisecond))
		defer beat.Stop()
		for err := error(nil); err == nil; {
			select {
			case <-quit:
				return
			case <-grown:
				err = l.report(false)
			case <-beat.C:
				err = l.report(true)
			}
		}
		_ = l.conn.Close() // the reader hears of it
	})
	return func() {
		unfollow()
		close(quit)
		_ = l.conn.Close() // a write may wait
		done.Wait()
	}
}

// greet says who this is, and agrees with the master on where to go on: from, which is -1 while that is the master's to say. A Java
// master does not answer; head is the first that it sends.
func (l *link) greet() (head []byte, from int64, err error) {
	c := l.c.o.Config()
	begin, end := l.st.Bounds()
	h := hello{id: c.ID, begin: begin, end: end, lastFile: c.LastFileOnly, tail: min(tailMost, end-begin)}
	if h.sum, err = l.sum(end-h.tail, h.tail); err != nil {
		return nil, 0, err
	}
	if _, err := l.conn.Write(h.encode()); err != nil {
		return nil, 0, err
	}
	l.reported = end
	kind, value, head, err := l.hear()
	if err != nil {
		return nil, 0, err
	}
	if kind >= 0 {
		l.c.mastersEnd.Store(-1)
		l.c.o.Log.Info("copying the log of a Java master", "master", l.addr, "from", end)
		if end > begin {
			return head, end, nil
		}
		return head, -1, nil
	}
	if kind == ctlBegin {
		from, err = l.part(begin, end, value)
		return nil, from, err
	}
	if kind != ctlEnd {
		return nil, 0, fmt.Errorf("answer %d to a greeting: %w", kind, errProtocol)
	}
	l.c.mastersEnd.Store(value)
	if value, err = l.expect(ctlWelcome); err != nil {
		return nil, 0, err
	}
	l.c.o.Log.Info("copying the log of the master", "master", l.addr, "from", value)
	l.reported = value
	return nil, value, nil
}

// hear reads the head of a frame.
func (l *link) hear() (kind int32, value int64, head []byte, err error) {
	head = make([]byte, frameHead)
	if _, err := io.ReadFull(l.conn, head); err != nil {
		return 0, 0, nil, err
	}
	l.heard(frameHead)
	value, kind = getFrame(head)
	return kind, value, head, nil
}

// expect reads a control frame of one kind.
func (l *link) expect(want int32) (int64, error) {
	kind, value, _, err := l.hear()
	if err == nil && kind != want {
		err = fmt.Errorf("answer %d where %d is due: %w", kind, want, errProtocol)
	}
	return value, err
}

func (l *link) sum(off, n int64) (uint32, error) {
	b := make([]byte, n)
	if err := l.st.CopyLog(off, b); err != nil {
		return 0, fmt.Errorf("read own log: %w", err)
	}
	return crc32.Checksum(b, castagnoli), nil
}
