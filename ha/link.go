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
	java  bool            // the master is Java's

	told   bool      // the master has told how far it is, and nobody has looked
	behind bool      // the log says so
	said   time.Time // when it was said

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
	in := frames{next: from, largest: l.st.LogFileSize(), note: l.note}
	if head != nil { // a Java master's first frame
		l.java, in.note = true, nil
		in.idle = func() { l.c.mastersEnd.Store(in.next) }
		if _, _, err := in.feed(head); err != nil {
			return err
		}
	}
	buf := make([]byte, readMost)
	for {
		room, err := l.room()
		if err != nil {
			return err
		}
		n, err := l.conn.Read(buf[:room])
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
	off, data, bad := in.feed(b)
	if len(data) > 0 {
		if l.java {
			l.c.mastersEnd.Store(-1) // nobody knows how much more there is
		}
		if _, err := l.st.AppendLog(off, data); err != nil {
			return err
		}
	}
	if bad != nil {
		return bad
	}
	if l.told {
		l.told = false
		l.look()
	}
	return l.report(false)
}

// room is how much may be read at once. It waits while this second has had its share.
func (l *link) room() (int64, error) {
	for l.c.o.Limited {
		n, wait := l.c.meter.room(l.c.o.Now(), l.c.o.Config().MostPerSec)
		if n > 0 {
			return min(n, readMost), nil
		}
		t := time.NewTimer(wait)
		select {
		case <-l.quit:
			t.Stop()
			return 0, net.ErrClosed
		case <-t.C:
		}
	}
	return readMost, nil
}

// note takes what the master says of itself.
func (l *link) note(kind int32, value int64) error {
	switch kind {
	case ctlEnd:
		l.c.mastersEnd.Store(value)
	case ctlTime:
		l.c.mastersTime.Store(value)
		l.told = true
	default:
		return fmt.Errorf("note %d: %w", kind, errProtocol)
	}
	return nil
}

// sayBehind is how often a slave that is behind says so in the log.
const sayBehind = time.Minute

// look logs how far this slave is behind, while it is, and that it is not any more.
func (l *link) look() {
	s := l.c.Status()
	now := l.c.o.Now()
	switch {
	case s.Behind > max(s.PerSecond, 2*sendMost) && now.Sub(l.said) >= sayBehind: // what is under way does not count
		l.behind, l.said = true, now
		l.c.o.Log.Info("behind the master", "master", l.addr, "bytes", s.Behind, "late", s.Late, "bytesPerSecond", s.PerSecond)
	case s.Behind == 0 && l.behind:
		l.behind = false
		l.c.o.Log.Info("caught up with the master", "master", l.addr, "at", s.End)
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
	h := hello{id: c.ID, begin: begin, end: end, lastFile: c.LastFileOnly, notes: true, tail: min(tailMost, end-begin)}
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
	l.c.mastersTime.Store(0)
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
