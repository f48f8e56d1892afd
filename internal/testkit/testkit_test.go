package testkit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestProcess(t *testing.T) {
	p, err := Start(Command{Path: "sh", Args: []string{"-c", "echo up; echo $KIT; exec sleep 60"}, Env: []string{"KIT=kit"}, Ready: "kit", Wait: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if out := p.Output(); out != "up\nkit\n" {
		t.Errorf("output %q", out)
	}
	p.Kill()
	select {
	case <-p.Ended():
	default:
		t.Error("it goes on after Kill")
	}
}

func TestProcessThatEndsTooSoon(t *testing.T) {
	if _, err := Start(Command{Path: "sh", Args: []string{"-c", "echo why; exit 3"}, Ready: "never"}); err == nil || !strings.Contains(err.Error(), "why") {
		t.Errorf("error %v does not show the output", err)
	}
}

func TestExitCodeIsAnError(t *testing.T) {
	p, err := Start(Command{Path: "sh", Args: []string{"-c", "exit 3"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.WaitExit(context.Background()); err == nil {
		t.Error("exit code 3 is no error")
	}
}

func TestDiedShowsThePanic(t *testing.T) {
	p, err := Start(Command{Path: "sh", Args: []string{"-c", "echo before; echo 'panic: why'; echo; echo goroutine 1; exit 2"}})
	if err != nil {
		t.Fatal(err)
	}
	<-p.Ended()
	text := fmt.Sprint(p.Died())
	if !strings.Contains(text, "exit status 2") || !strings.Contains(text, "panic: why\n\ngoroutine 1") || strings.Contains(text, "before") {
		t.Errorf("%s", text)
	}
}

func TestDiedIsNilWhileItRuns(t *testing.T) {
	p, err := Start(Command{Path: "sh", Args: []string{"-c", "exec sleep 60"}})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Kill()
	if err := p.Died(); err != nil {
		t.Error(err)
	}
}

func TestOutputKeepsBothEnds(t *testing.T) {
	o := output{want: "needle", seen: make(chan struct{})}
	if _, err := o.Write([]byte("first needle ")); err != nil {
		t.Fatal(err)
	}
	select {
	case <-o.seen:
	default:
		t.Error("the text that means ready was not seen")
	}
	for range 100 {
		_, _ = o.Write(bytes.Repeat([]byte("x"), 10000))
	}
	_, _ = o.Write([]byte(" last"))
	if s := o.String(); !strings.HasPrefix(s, "first") || !strings.HasSuffix(s, "last") || len(s) > 4*outputPart {
		t.Errorf("%d bytes, %.20q ... %.20q", len(s), s, s[len(s)-20:])
	}
}

// TestPortsAreHeld has a server listen on what is held, on one address and on all, twice, while nobody else can hold it or gets it unasked.
func TestPortsAreHeld(t *testing.T) {
	ports, err := HoldBrokerPorts()
	if err != nil {
		t.Fatal(err)
	}
	defer ports.Release()
	mine := map[int]bool{}
	for _, d := range []int{-2, 0, 1} {
		p := ports.Port() + d
		mine[p] = true
		for _, host := range []string{"127.0.0.1", "", "127.0.0.1"} {
			l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(p)))
			if err != nil {
				t.Errorf("listen on what is held: %v", err)
				continue
			}
			_ = l.Close()
		}
		if err := (&Ports{first: p, held: []*os.File{nil}}).hold(0); err == nil {
			t.Errorf("port %d is held twice", p)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	for range 200 { // connections get theirs from the same range, in no order
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if port := c.LocalAddr().(*net.TCPAddr).Port; mine[port] {
			t.Errorf("a connection got port %d", port)
		}
		_ = c.Close()
	}
}

func TestCopySparse(t *testing.T) {
	want := make([]byte, 1<<20+17)
	copy(want[300<<10:], "in the middle")
	copy(want[len(want)-3:], "end")
	path := filepath.Join(t.TempDir(), "f")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(copySparse(f, bytes.NewReader(want), int64(len(want))), f.Close()); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
		t.Errorf("copy differs (%v)", err)
	}
}

func TestProps(t *testing.T) {
	p := Props{"b": "2", "a": "1"}
	q := p.With(Props{"a": "x"})
	if p.Text() != "a=1\nb=2\n" || q.Text() != "a=x\nb=2\n" || Props(nil).With(nil).Text() != "" {
		t.Errorf("%q %q", p.Text(), q.Text())
	}
}

func TestRoot(t *testing.T) {
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(root, "internal", "testkit", "where.go")); err != nil {
		t.Error(err)
	}
}

func TestMissingGoldenIsSaid(t *testing.T) {
	t.Setenv("APOGEE_SHARED", t.TempDir())
	if err := UnpackGolden("clean", t.TempDir()); !errors.Is(err, ErrMissing) {
		t.Errorf("error %v, want ErrMissing", err)
	}
}

func TestAPortThatIsTakenForAMomentIsWaitedFor(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tries := 0
	err = onItsPorts(func() error {
		tries++
		again, err := net.Listen("tcp", l.Addr().String())
		if err != nil {
			return errors.Join(fmt.Errorf("start: %w", err), l.Close())
		}
		return again.Close()
	})
	if err != nil || tries != 2 {
		t.Errorf("%v after %d tries", err, tries)
	}
	if err := onItsPorts(func() error { tries++; return errors.New("no such file") }); err == nil || tries != 3 {
		t.Errorf("another error: %v after %d tries", err, tries)
	}
}
