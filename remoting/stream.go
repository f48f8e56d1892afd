package remoting

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime"
	"runtime/debug"
	"syscall"
	"time"

	"apogee/internal/clock"
)

// streamWire is a net.Conn as a wire: TLS, and the connections that a client made.
type streamWire struct {
	nc      net.Conn
	raw     syscall.RawConn // of a socket without TLS, which can be asked to write without waiting
	timeout time.Duration   // for each piece
}

func newStreamWire(nc net.Conn, timeout time.Duration) *streamWire {
	w := &streamWire{nc: nc, timeout: timeout}
	if t, ok := nc.(*net.TCPConn); ok {
		w.raw, _ = t.SyscallConn() // fails for no connection that net made
	}
	return w
}

// pieceSize is what has to leave within one write timeout.
const pieceSize = 64 << 10

func (w *streamWire) write(pieces [][]byte, block bool) (int, error) {
	if !block {
		return w.writeNow(pieces)
	}
	total := 0
	var few net.Buffers
	for len(pieces) > 0 {
		few, pieces = cut(few[:0], pieces, pieceSize)
		if err := w.nc.SetWriteDeadline(clock.Now().Add(w.timeout)); err != nil {
			return total, err
		}
		batch := few // WriteTo consumes it
		n, err := writeMapped(&batch, w.nc)
		total += int(n)
		if err != nil {
			return total, err
		}
	}
	return total, nil
}

// writeMapped writes what may be mapped memory. TLS reads that by itself: what the disk does not give is the error then that a system call
// would return.
func writeMapped(b *net.Buffers, nc net.Conn) (n int64, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		switch p := recover().(type) {
		case nil:
		case memoryFault:
			err = fmt.Errorf("%w: %w", syscall.EFAULT, p)
		default:
			panic(p)
		}
	}()
	return b.WriteTo(nc)
}

// memoryFault is the runtime's error for an access that the kernel refuses.
type memoryFault interface {
	runtime.Error
	Addr() uintptr
}

// cut moves up to size bytes from the front of pieces to few.
func cut(few net.Buffers, pieces [][]byte, size int) (net.Buffers, [][]byte) {
	for len(pieces) > 0 && size > 0 {
		p := pieces[0]
		if len(p) > size {
			few = append(few, p[:size])
			pieces[0] = p[size:]
			break
		}
		few, size, pieces = append(few, p), size-len(p), pieces[1:]
	}
	return few, pieces
}

func (w *streamWire) writeNow(pieces [][]byte) (n int, err error) {
	if w.raw == nil {
		return 0, errAgain
	}
	if e := w.raw.Write(func(fd uintptr) bool {
		n, err = writeFD(int(fd), pieces)
		return true
	}); e != nil {
		return n, e
	}
	return n, err
}

func (w *streamWire) hangup() { _ = w.nc.Close() }
func (w *streamWire) close()  { _ = w.nc.Close() }

func (w *streamWire) localAddr() netip.AddrPort { return addrPort(w.nc.LocalAddr()) }

// streamBuffer is a TLS record: more does not come at once.
const streamBuffer = 16 << 10

// readStream reads and works frames until the connection ends. pending is what has been read before.
func (c *Conn) readStream(nc net.Conn, pending []byte) {
	c.mu.Lock()
	c.blocking = true
	c.mu.Unlock()
	in := inbox{data: pending}
	for {
		err := c.workBatch(&in)
		if err != nil && !errors.Is(err, errFull) {
			c.fail("input", err)
			return
		}
		if wait := c.full(); wait != nil {
			<-wait
		}
		if err != nil {
			continue // with the frames that are left
		}
		in.grow(c.ep.limits.MaxFrame)
		n, err := nc.Read(in.data[len(in.data):cap(in.data)])
		in.data = in.data[:len(in.data)+n]
		c.lastIO.Store(c.ep.lastNow.Load())
		if err != nil && n == 0 {
			if !errors.Is(err, io.EOF) {
				c.broken(err)
			}
			return
		}
	}
}

// workBatch works what in holds and writes the answers.
func (c *Conn) workBatch(in *inbox) error {
	if len(in.data) == 0 {
		return nil
	}
	s := c.ep.scratch.Get().(*scratch)
	c.beginBatch()
	n, err := c.feed(s, in.data)
	s.end()
	c.endBatch()
	c.ep.scratch.Put(s)
	in.drop(n)
	return err
}

// inbox is the input that is not a whole frame yet.
type inbox struct{ data []byte }

// minRoom is the least that it is worth to read into.
const minRoom = streamBuffer / 4

// grow makes room for more data. A frame that was announced gets memory as it comes, not before.
func (in *inbox) grow(maxFrame int) {
	have := len(in.data)
	if cap(in.data)-have >= minRoom {
		return
	}
	size := max(streamBuffer, 2*have)
	if have >= 64<<10 {
		size = 8 * have // it seems to be meant seriously, and copies cost, too
	}
	if need, _ := frameSize(in.data, maxFrame); need > have {
		size = min(size, max(need, streamBuffer))
	}
	data := make([]byte, have, max(size, have+minRoom))
	copy(data, in.data)
	in.data = data
}

// drop forgets the first n bytes.
func (in *inbox) drop(n int) {
	if n == 0 {
		return
	}
	rest := in.data[n:]
	if cap(in.data) > 4*streamBuffer && len(rest) < streamBuffer {
		in.data = make([]byte, 0, streamBuffer)
	}
	in.data = in.data[:copy(in.data[:cap(in.data)], rest)]
}

// addrPort is a's address, zero if it has none.
func addrPort(a net.Addr) netip.AddrPort {
	if t, ok := a.(*net.TCPAddr); ok {
		return t.AddrPort()
	}
	return netip.AddrPort{}
}
