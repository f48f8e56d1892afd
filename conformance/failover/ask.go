package failover

import (
	"context"
	"fmt"
	"sync"
	"time"

	"apogee/conformance/wire"
	"apogee/remoting/code"
)

// lines are connections to servers, made anew when they have ended.
type lines struct {
	mu   sync.Mutex // guards conn
	conn map[string]*wire.Conn
}

func (l *lines) to(addr string) (*wire.Conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c := l.conn[addr]; c != nil {
		select {
		case <-c.Done():
		default:
			return c, nil
		}
	}
	c, err := wire.Dial(addr)
	if err != nil {
		return nil, err
	}
	if l.conn == nil {
		l.conn = map[string]*wire.Conn{}
	}
	l.conn[addr] = c
	return c, nil
}

func (l *lines) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.conn {
		c.Close()
	}
}

// ask makes a request, whatever the answer.
func (l *lines) ask(addr string, request int32, ext map[string]string, body []byte) (*wire.Frame, error) {
	c, err := l.to(addr)
	if err != nil {
		return nil, err
	}
	return c.Call(int(request), ext, body)
}

// must makes a request that has to succeed.
func (l *lines) must(addr string, request int32, ext map[string]string, body []byte) (*wire.Frame, error) {
	f, err := l.ask(addr, request, ext, body)
	if err == nil && f.Code != int(code.Success) {
		err = fmt.Errorf("request %d %v to %s: %v", request, ext, addr, f)
	}
	return f, err
}

// json makes a request that has to succeed, and reads its answer's body.
func (l *lines) json(addr string, request int32, ext map[string]string) (any, error) {
	f, err := l.must(addr, request, ext, nil)
	if err != nil {
		return nil, err
	}
	return wire.Loose(f.Body)
}

// runtime is one value of a broker's runtime info.
func (l *lines) runtime(addr, key string) (string, error) {
	v, err := l.json(addr, code.GetBrokerRuntimeInfo, nil)
	return fmt.Sprint(wire.At(v, "table", key)), err
}

// inSync tells whether a master has a slave, and sends it what comes.
func (l *lines) inSync(master string) (bool, error) {
	v, err := l.json(master, code.GetBrokerHAStatus, nil)
	return wire.Num(wire.At(v, "inSyncSlaveNums")) == "1", err
}

// soon is how long a step may wait between two looks.
const soon = 5 * time.Millisecond

// until waits for something; what it says last of it is in the error.
func until(ctx context.Context, limit time.Duration, what string, f func() (bool, string)) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		ok, state := f()
		if ok {
			return nil
		}
		if !pause(ctx, soon) {
			return fmt.Errorf("%s: not within %v: %s", what, limit, state)
		}
	}
}

// pause waits; false if ctx ended.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
