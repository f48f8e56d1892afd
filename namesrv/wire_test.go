package namesrv

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// The tests here speak the protocol with a few lines of their own: so they can be any version of a client, and run against the
// Java original as well.

// testDeadline is how long a test waits for something that should come.
const testDeadline = 20 * time.Second

type frame struct {
	Code      int32             `json:"code"`
	Language  string            `json:"language"`
	Version   int32             `json:"version"`
	Opaque    int32             `json:"opaque"`
	Flag      int32             `json:"flag"`
	Remark    string            `json:"remark,omitempty"`
	ExtFields map[string]string `json:"extFields,omitempty"`
	body      []byte
}

func (f *frame) writeTo(w io.Writer) error {
	header, err := json.Marshal(f)
	if err != nil {
		return err
	}
	buf := binary.BigEndian.AppendUint32(nil, uint32(4+len(header)+len(f.body)))
	buf = binary.BigEndian.AppendUint32(buf, uint32(len(header)))
	buf = append(append(buf, header...), f.body...)
	_, err = w.Write(buf)
	return err
}

func readFrame(r io.Reader) (*frame, error) {
	var lengths [8]byte
	if _, err := io.ReadFull(r, lengths[:]); err != nil {
		return nil, err
	}
	total, header := binary.BigEndian.Uint32(lengths[:4]), binary.BigEndian.Uint32(lengths[4:])
	if header>>24 != 0 || header+4 > total || total > 1<<24 {
		return nil, fmt.Errorf("bad frame: %d bytes, header %#x", total, header)
	}
	rest := make([]byte, total-4)
	if _, err := io.ReadFull(r, rest); err != nil {
		return nil, err
	}
	f := &frame{body: rest[header:]}
	return f, json.Unmarshal(rest[:header], f)
}

// peer is a client connection.
type peer struct {
	t    *testing.T
	conn net.Conn
	last int32
}

func dialPeer(t *testing.T, addr string) *peer {
	t.Helper()
	conn, err := net.DialTimeout("tcp", addr, testDeadline)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &peer{t: t, conn: conn}
}

// ask makes a request and waits for its answer.
func (p *peer) ask(code, version int32, ext map[string]string, body []byte) *frame {
	p.t.Helper()
	p.last++
	f := &frame{Code: code, Language: "JAVA", Version: version, Opaque: p.last, ExtFields: ext, body: body}
	if err := f.writeTo(p.conn); err != nil {
		p.t.Fatalf("code %d: %v", code, err)
	}
	deadline, cancel := afterDeadline(p.conn)
	defer cancel()
	answer, err := readFrame(p.conn)
	if err != nil {
		p.t.Fatalf("code %d: %v (deadline passed: %v)", code, err, deadline())
	}
	if answer.Opaque != p.last || answer.Flag&1 == 0 {
		p.t.Fatalf("code %d: an answer with opaque %d, flag %d", code, answer.Opaque, answer.Flag)
	}
	return answer
}

// afterDeadline closes a connection that stays silent for too long.
func afterDeadline(conn net.Conn) (passed, cancel func() bool) {
	fired := make(chan struct{})
	timer := time.AfterFunc(testDeadline, func() {
		close(fired)
		_ = conn.Close()
	})
	return func() bool {
		select {
		case <-fired:
			return true
		default:
			return false
		}
	}, timer.Stop
}

// listener plays a broker's port: it collects the requests that come in.
type listener struct {
	ln       net.Listener
	requests chan *frame
}

func newListener(t *testing.T) *listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &listener{ln: ln, requests: make(chan *frame, 64)}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var conns []net.Conn
	wg.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, conn)
			mu.Unlock()
			wg.Go(func() {
				for {
					f, err := readFrame(conn)
					if err != nil {
						return
					}
					l.requests <- f
				}
			})
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		mu.Lock()
		for _, c := range conns {
			_ = c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return l
}

func (l *listener) addr() string { return l.ln.Addr().String() }

// next waits for a request.
func (l *listener) next(t *testing.T) *frame {
	t.Helper()
	timer := time.NewTimer(testDeadline)
	defer timer.Stop()
	select {
	case f := <-l.requests:
		return f
	case <-timer.C:
		t.Fatal("no request came")
		return nil
	}
}
