package wire

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"
)

// Conn is one connection on which requests may be made from many goroutines. Requests of the other side go to OnRequest.
type Conn struct {
	net  net.Conn
	Type Serialization // of requests
	// Version and Language are what requests say of their sender.
	Version  int
	Language string
	Timeout  time.Duration

	writeMu sync.Mutex

	mu      sync.Mutex // guards what follows
	opaque  int32
	waiting map[int32]chan *Frame
	asked   []*Frame // requests of the other side, in order of arrival
	stray   []*Frame // answers nobody waits for
	err     error
	done    chan struct{}
}

// Dial connects; requests say they come from a Java client of 5.5.0.
func Dial(addr string) (*Conn, error) {
	c, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		return nil, err
	}
	return start(c), nil
}

// DialTLS connects with TLS; the certificate is not looked at, as test certificates are self-signed.
func DialTLS(addr string) (*Conn, error) {
	d := &net.Dialer{Timeout: 5 * time.Second}
	c, err := tls.DialWithDialer(d, "tcp", addr, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		return nil, err
	}
	return start(c), nil
}

func start(c net.Conn) *Conn {
	conn := &Conn{net: c, Version: 513, Language: "JAVA", Timeout: 20 * time.Second, waiting: map[int32]chan *Frame{}, done: make(chan struct{})}
	go conn.read()
	return conn
}

func (c *Conn) read() {
	for {
		f, err := ReadFrame(c.net)
		if err != nil {
			c.mu.Lock()
			c.err = err
			c.mu.Unlock()
			close(c.done)
			return
		}
		c.mu.Lock()
		switch wait, ok := c.waiting[f.Opaque]; {
		case !f.IsAnswer():
			c.asked = append(c.asked, f)
		case ok:
			delete(c.waiting, f.Opaque)
			wait <- f
		default:
			c.stray = append(c.stray, f)
		}
		c.mu.Unlock()
	}
}

// Close closes the connection and waits for its reader.
func (c *Conn) Close() {
	_ = c.net.Close()
	<-c.done
}

// Done is closed when the connection is.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Asked are the requests that the other side has made.
func (c *Conn) Asked() []*Frame {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]*Frame(nil), c.asked...)
}

// Stray are answers to requests that were one-way or had timed out.
func (c *Conn) Stray() []*Frame {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]*Frame(nil), c.stray...)
}

// Ext makes header fields of alternating keys and values; a key with a nil value is left out.
func Ext(pairs ...any) map[string]string {
	m := map[string]string{}
	for i := 0; i+1 < len(pairs); i += 2 {
		switch v := pairs[i+1].(type) {
		case nil:
		case string:
			m[pairs[i].(string)] = v
		case bool:
			m[pairs[i].(string)] = strconv.FormatBool(v)
		default:
			m[pairs[i].(string)] = fmt.Sprint(v)
		}
	}
	return m
}

// ErrTimeout says that no answer came in time.
var ErrTimeout = errors.New("no answer in time")

// Call makes a request and waits for its answer.
func (c *Conn) Call(code int, ext map[string]string, body []byte) (*Frame, error) {
	wait, err := c.Begin(code, ext, body)
	if err != nil {
		return nil, err
	}
	return c.answer(code, wait)
}

// answer waits for the answer to a request.
func (c *Conn) answer(code int, wait <-chan *Frame) (*Frame, error) {
	select {
	case f := <-wait:
		return f, nil
	case <-c.done:
		select {
		case f := <-wait:
			return f, nil
		default:
		}
		return nil, fmt.Errorf("request %d: connection ended: %w", code, c.err)
	case <-time.After(c.Timeout):
		return nil, fmt.Errorf("request %d: %w", code, ErrTimeout)
	}
}

// Begin makes a request; the answer comes on the channel.
func (c *Conn) Begin(code int, ext map[string]string, body []byte) (<-chan *Frame, error) {
	f, wait := c.expect(Request{code, ext, body})
	return wait, c.Send(f)
}

// expect is the frame of a request whose answer is waited for.
func (c *Conn) expect(r Request) (*Frame, <-chan *Frame) {
	wait := make(chan *Frame, 1)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.opaque++
	c.waiting[c.opaque] = wait
	return &Frame{Code: r.Code, Opaque: c.opaque, Ext: r.Ext, Body: r.Body, Type: c.Type, Version: c.Version, Language: c.Language}, wait
}

// Request is one of many that are made together.
type Request struct {
	Code int
	Ext  map[string]string
	Body []byte
}

// Together writes requests in one piece and waits for all answers, which are in the order of the requests.
func (c *Conn) Together(reqs ...Request) ([]*Frame, error) {
	var text []byte
	waits := make([]<-chan *Frame, len(reqs))
	for i, r := range reqs {
		f, wait := c.expect(r)
		b, err := f.Encode()
		if err != nil {
			return nil, err
		}
		text, waits[i] = append(text, b...), wait
	}
	if err := c.Write(text); err != nil {
		return nil, err
	}
	out := make([]*Frame, len(reqs))
	for i, wait := range waits {
		var err error
		if out[i], err = c.answer(reqs[i].Code, wait); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Oneway makes a request that gets no answer; it returns the request's opaque.
func (c *Conn) Oneway(code int, ext map[string]string, body []byte) (int32, error) {
	c.mu.Lock()
	c.opaque++
	f := &Frame{Code: code, Opaque: c.opaque, Flag: 2, Ext: ext, Body: body, Type: c.Type, Version: c.Version, Language: c.Language}
	c.mu.Unlock()
	return f.Opaque, c.Send(f)
}

// Send writes a frame as it is.
func (c *Conn) Send(f *Frame) error {
	b, err := f.Encode()
	if err != nil {
		return err
	}
	return c.Write(b)
}

// Write writes raw bytes.
func (c *Conn) Write(b []byte) error {
	c.writeMu.Lock()
	defer c.writeMu.Unlock()
	if err := c.net.SetWriteDeadline(time.Now().Add(c.Timeout)); err != nil {
		return err
	}
	_, err := c.net.Write(b)
	return err
}
