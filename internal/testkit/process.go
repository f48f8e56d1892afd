package testkit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Process is one child process; its output is kept (the first and the last part of it) and searched for a line that means ready.
type Process struct {
	cmd  *exec.Cmd
	out  output
	done chan struct{}
	err  error // of Wait; set before done is closed
}

// Command says what to start.
type Command struct {
	Path  string
	Args  []string
	Dir   string
	Env   []string // besides the environment
	Ready string   // text of the output that means ready; "" does not wait
	Wait  time.Duration
}

// Start runs a command and waits until it is ready, has ended, or the wait is over (60 s unless said otherwise).
func Start(c Command) (*Process, error) {
	p := &Process{cmd: exec.Command(c.Path, c.Args...), done: make(chan struct{})}
	p.cmd.Dir, p.cmd.Env = c.Dir, append(os.Environ(), c.Env...)
	p.out.want, p.out.seen = c.Ready, make(chan struct{})
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	p.cmd.SysProcAttr = attributes()
	p.cmd.WaitDelay = time.Second
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	if c.Ready == "" {
		return p, nil
	}
	if c.Wait == 0 {
		c.Wait = time.Minute
	}
	select {
	case <-p.out.seen:
		return p, nil
	case <-p.done:
		select {
		case <-p.out.seen: // said it and ended at once
			return p, nil
		default:
		}
		return nil, fmt.Errorf("%s ended before it was ready (%v):\n%s", c.Path, p.err, p.Output())
	case <-time.After(c.Wait):
		p.Kill()
		return nil, fmt.Errorf("%s was not ready after %v:\n%s", c.Path, c.Wait, p.Output())
	}
}

// PID is the process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Output is what the process has printed so far.
func (p *Process) Output() string { return p.out.String() }

// Ended is closed when the process has ended.
func (p *Process) Ended() <-chan struct{} { return p.done }

// Died is nil while the process runs, else an error with its exit status and the end of its output.
func (p *Process) Died() error {
	select {
	case <-p.done:
	default:
		return nil
	}
	how := "exit status 0"
	if p.err != nil {
		how = p.err.Error()
	}
	return fmt.Errorf("%s (process %d) has ended: %s; its last words:\n%s", p.cmd.Path, p.PID(), how, lastWords(p.Output()))
}

// lastWords is the end of an output: from the panic on, if there is one, which the stacks of all goroutines may follow.
func lastWords(out string) string {
	const most = 40
	for _, word := range []string{"panic: ", "fatal error: ", "unexpected fault address"} {
		if i := strings.LastIndex(out, "\n"+word); i >= 0 {
			lines := strings.SplitN(out[i+1:], "\n", most+1)
			return strings.Join(lines[:min(most, len(lines))], "\n")
		}
	}
	lines := strings.Split(strings.TrimRight(out, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-most):], "\n")
}

// Kill ends the process at once (SIGKILL) and waits for it.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// Signal sends a signal.
func (p *Process) Signal(s os.Signal) error { return p.cmd.Process.Signal(s) }

// Stop asks the process to end (SIGTERM) and waits for it; after two minutes it is killed, which is an error.
func (p *Process) Stop() error {
	if err := p.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	return p.WaitExit(ctx)
}

// WaitExit waits until the process ends; when ctx is over before that, it is killed. An exit code other than 0 is an error.
func (p *Process) WaitExit(ctx context.Context) error {
	select {
	case <-p.done:
	case <-ctx.Done():
		p.Kill()
		return fmt.Errorf("%s had to be killed: %w\n%s", p.cmd.Path, ctx.Err(), p.Output())
	}
	if p.err != nil {
		return fmt.Errorf("%s: %w\n%s", p.cmd.Path, p.err, p.Output())
	}
	return nil
}

// output keeps the first and the last 64 KiB of what is written to it.
type output struct {
	mu   sync.Mutex
	head bytes.Buffer
	tail []byte
	want string
	seen chan struct{}
	hit  bool
}

const outputPart = 64 << 10

var _ io.Writer = (*output)(nil)

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if room := outputPart - o.head.Len(); room > 0 {
		o.head.Write(b[:min(room, len(b))])
		if len(b) > room {
			o.tail = append(o.tail, b[room:]...)
		}
	} else {
		o.tail = append(o.tail, b...)
	}
	if len(o.tail) > 2*outputPart {
		o.tail = append(o.tail[:0], o.tail[len(o.tail)-outputPart:]...)
	}
	if !o.hit && o.want != "" && strings.Contains(o.head.String(), o.want) {
		o.hit = true
		close(o.seen)
	}
	return len(b), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.head.String() + string(o.tail)
}
