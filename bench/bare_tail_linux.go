package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sys/unix"
)

// BareTail is the traffic of a producer at a fixed rate and two long-polling consumers as system calls and nothing else: what a broker on this
// machine pays for it at least, whatever it is written in. The processor time is that of the thread which stands for the broker;
// the delay that from the intended time of a message to its delivery.
func BareTail(ctx context.Context, o TailOptions) (Result, error) {
	res := Result{Kind: "bare tail", Broker: o.Dir, Settings: o.settings()}
	if err := o.check(); err != nil {
		return res, err
	}
	t := &bareTail{o: o, start: time.Now(), delay: newBareHistogram(), all: make(chan struct{})}
	t.due = int(o.Duration.Seconds() * float64(o.Rate))
	total := t.due
	err := t.open()
	defer t.close()
	if err != nil {
		return res, err
	}
	// The serving thread keeps a context of Go's scheduler while it waits; nobody else shall miss it.
	contexts := runtime.GOMAXPROCS(0)
	runtime.GOMAXPROCS(contexts + 1)
	defer runtime.GOMAXPROCS(contexts)
	served := make(chan error, 1)
	go func() { served <- t.serve() }()
	var readers sync.WaitGroup
	for i := 1; i <= tailConsumers; i++ {
		readers.Go(func() { t.consume(t.clients[i]) })
	}
	readers.Go(func() { drop(t.clients[0]) })
	machine, _ := machineCPU()
	began := time.Now()
	err = t.produce(ctx, total)
	if err == nil {
		select {
		case <-t.all:
		case err = <-served:
			err = errors.Join(errTailInput, err)
			served <- nil
		case <-time.After(tailPatience):
			err = fmt.Errorf("not delivered within %v of the last message", tailPatience)
		}
	}
	res.Elapsed = time.Since(began)
	after, _ := machineCPU()
	t.hangup()
	err = errors.Join(err, <-served)
	readers.Wait()
	res.Messages, res.Requests, res.Bytes = t.sent, t.sent, t.sent*tailRequest
	d := latencyOf(t.delay)
	res.Delivery, res.Delivered = &d, d.Count
	if seconds := res.Elapsed.Seconds(); res.Messages > 0 && seconds > 0 {
		res.Rate = float64(res.Messages) / seconds
		res.BrokerPID, res.BrokerCPUShare = os.Getpid(), t.cpu.Seconds()/seconds
		res.BrokerCPU = float64(t.cpu.Nanoseconds()) / 1000 / float64(res.Messages)
		res.OtherLoad = max(0, (after-machine-t.cpu).Seconds()/seconds)
	}
	return res, err
}

type bareTail struct {
	o       TailOptions
	start   time.Time
	log     *os.File
	clients [1 + tailConsumers]int // descriptors: the producer, then the consumers
	servers [1 + tailConsumers]int // their other sides
	ended   atomic.Bool
	sent    int64
	cpu     time.Duration

	all chan struct{} // closed when all have been delivered

	mu    sync.Mutex // guards what follows
	delay *hdrhistogram.Histogram
	due   int // messages that have not been delivered
}

// tailPatience is how long the last messages may take.
const tailPatience = 5 * time.Second

func (t *bareTail) open() (err error) {
	for i := range t.clients {
		t.clients[i], t.servers[i] = -1, -1
	}
	if t.log, err = os.CreateTemp(t.o.Dir, "bare-*.dat"); err != nil {
		return err
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer func() { _ = l.Close() }()
	for i := range t.clients {
		c, err := net.DialTimeout("tcp4", l.Addr().String(), 5*time.Second)
		if err != nil {
			return err
		}
		s, err := l.Accept()
		if err != nil {
			_ = c.Close()
			return err
		}
		var err1, err2 error
		t.clients[i], err1 = own(c, false)
		t.servers[i], err2 = own(s, true)
		if err := errors.Join(err1, err2); err != nil {
			return err
		}
	}
	return nil
}

// own takes the descriptor of a connection away from Go's poller.
func own(c net.Conn, nonblock bool) (int, error) {
	f, err := c.(*net.TCPConn).File()
	_ = c.Close()
	if err != nil {
		return -1, err
	}
	defer func() { _ = f.Close() }()
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("dup", err)
	}
	return fd, unix.SetNonblock(fd, nonblock)
}

func (t *bareTail) hangup() {
	t.ended.Store(true)
	for _, fd := range t.clients {
		_ = unix.Shutdown(fd, unix.SHUT_RDWR)
	}
}

func (t *bareTail) close() {
	for i := range t.clients {
		if t.clients[i] >= 0 {
			_ = unix.Close(t.clients[i])
		}
		if t.servers[i] >= 0 {
			_ = unix.Close(t.servers[i])
		}
	}
	if t.log != nil {
		_ = t.log.Close()
		_ = os.Remove(t.log.Name())
	}
}

// serve stands for the broker. Its waits bypass Go's scheduler, whose work is not to be measured.
func (t *bareTail) serve() error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	set, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("epoll_create", err)
	}
	defer func() { _ = unix.Close(set) }()
	for i, fd := range t.servers {
		ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLET, Fd: int32(i)}
		if err := unix.EpollCtl(set, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
			return os.NewSyscallError("epoll_ctl", err)
		}
	}
	var (
		events [8]unix.EpollEvent
		in     = make([]byte, 256<<10)
		out    = make([]byte, 256<<10)
		cut    = whole{size: tailRequest}
		stamps []uint64
		at     int64
	)
	cpu := threadCPU()
	defer func() { t.cpu = threadCPU() - cpu }()
	for {
		n := waitBare(set, events[:])
		stamps = stamps[:0]
		for _, ev := range events[:n] {
			r, _, e := unix.RawSyscall(unix.SYS_READ, uintptr(t.servers[ev.Fd]), uintptr(unsafe.Pointer(&in[0])), uintptr(len(in)))
			switch {
			case e == unix.EAGAIN || e == unix.EINTR:
			case e != 0 || r == 0:
				if t.ended.Load() {
					return nil
				}
				return errTailInput
			case ev.Fd == 0:
				cut.add(in[:r], func(stamp uint64) { stamps = append(stamps, stamp) })
			}
		}
		if len(stamps) > 0 {
			if err := t.work(stamps, out, &at); err != nil {
				return err
			}
		}
		if t.o.Pause > 0 && n > 0 {
			ts := unix.NsecToTimespec(int64(t.o.Pause))
			_, _, _ = unix.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&ts)), 0, 0)
		}
	}
}

// waitBare waits for events for two milliseconds at most.
//
//go:noinline
func waitBare(set int, events []unix.EpollEvent) int { // a call is where the scheduler can stop a loop
	n, _, e := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(set), uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), 2, 0, 0)
	if e != 0 {
		return 0
	}
	return int(n)
}

// work stores, answers and delivers what has come together.
func (t *bareTail) work(stamps []uint64, out []byte, at *int64) error {
	if max(tailRequest, tailDelivery)*len(stamps) > len(out) {
		return fmt.Errorf("%d messages at once: the machine had no time for this", len(stamps))
	}
	n, err := unix.Pwrite(int(t.log.Fd()), out[:recordTail*len(stamps)], *at)
	if err != nil {
		return os.NewSyscallError("pwrite", err)
	}
	*at = (*at + int64(n)) % bareFile
	if err := push(t.servers[0], out[:tailAnswer*len(stamps)]); err != nil {
		return err
	}
	for c := range tailConsumers {
		size := 0
		for i := c; i < len(stamps); i += tailConsumers {
			binary.BigEndian.PutUint64(out[size:], stamps[i])
			size += tailDelivery
		}
		if size == 0 {
			continue
		}
		to := 1 + c
		if len(stamps) == 1 { // a lone message goes to the one and the other in turn
			to = 1 + int(t.sent)%tailConsumers
		}
		if err := push(t.servers[to], out[:size]); err != nil {
			return err
		}
	}
	t.sent += int64(len(stamps))
	return nil
}

// recordTail is what the message takes in the log.
const recordTail = 1239

func push(fd int, b []byte) error {
	n, _, e := unix.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
	if e != 0 || int(n) != len(b) {
		return fmt.Errorf("write %d of %d bytes: %w", n, len(b), e)
	}
	return nil
}

func (t *bareTail) produce(ctx context.Context, total int) error {
	sleep, done := newSleeper(t.start)
	defer done()
	s := newSchedule(time.Since(t.start)+10*time.Millisecond, t.o.Rate)
	b := make([]byte, tailRequest)
	for i := range total {
		due := s.at(i)
		sleep(due)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		binary.BigEndian.PutUint64(b, uint64(due))
		if _, err := unix.Write(t.clients[0], b); err != nil {
			return os.NewSyscallError("write", err)
		}
	}
	return nil
}

func (t *bareTail) consume(fd int) {
	cut, in, ask := whole{size: tailDelivery}, make([]byte, 256<<10), make([]byte, 64*tailAsk)
	for {
		n, err := unix.Read(fd, in)
		if n <= 0 || err != nil && !errors.Is(err, unix.EINTR) {
			return
		}
		now, got := time.Since(t.start), 0
		cut.add(in[:n], func(stamp uint64) {
			got++
			t.delivered(int64(now) - int64(stamp))
		})
		if got > 0 {
			if _, err := unix.Write(fd, ask[:tailAsk*min(got, 64)]); err != nil {
				return
			}
		}
	}
}

func (t *bareTail) delivered(delay int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	_ = t.delay.RecordValue(min(max(0, delay), int64(time.Minute)))
	if t.due--; t.due == 0 {
		close(t.all)
	}
}

// drop reads answers until the connection ends.
func drop(fd int) {
	for b := make([]byte, 64<<10); ; {
		if n, err := unix.Read(fd, b); n <= 0 && !errors.Is(err, unix.EINTR) {
			return
		}
	}
}
