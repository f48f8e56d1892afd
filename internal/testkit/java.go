package testkit

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Java starts the reference through the oracle script. Version "" is the script's default.
type Java struct {
	Script  string
	Version string
	// JVM options for brokers and name servers; "" takes small ones, that are quick to start.
	BrokerOpts, NamesrvOpts string
	Netns                   string // the network namespace to run everything in; "" is the one of the test
	// Room bounds how many of its servers run at once: each has an element in it, and the start of one waits for a place. Nil for no bound.
	Room chan struct{}
}

// smallJVM starts quickly and stays small; timings need others.
const smallJVM = "-Xms256m -Xmx512m -Xmn128m -XX:MaxDirectMemorySize=512m -XX:+UseSerialGC -XX:TieredStopAtLevel=1"

// FindJava looks for the script (APOGEE_ORACLE, else the shared folder), a Java run-time and the reference's jars.
func FindJava() (*Java, error) {
	script := os.Getenv("APOGEE_ORACLE")
	if script == "" {
		var err error
		if script, err = Shared("oracle", "oracle.sh"); err != nil {
			return nil, err
		}
	}
	if _, err := os.Stat(script); err != nil {
		return nil, fmt.Errorf("oracle script %s: %w", script, ErrMissing)
	}
	if _, err := exec.LookPath("java"); err != nil {
		return nil, fmt.Errorf("java is not on the PATH: %w", ErrMissing)
	}
	j := &Java{Script: script}
	return j, j.fetch()
}

// Release is the same script with another release of the reference.
func (j *Java) Release(version string) (*Java, error) {
	other := *j
	other.Version = version
	return &other, other.fetch()
}

// fetches remembers what was fetched: two at the same time would pull the jars from under each other.
var fetches struct {
	sync.Mutex
	done map[string]error
}

func (j *Java) fetch() error {
	fetches.Lock()
	defer fetches.Unlock()
	key := j.Script + " " + j.Version
	err, ok := fetches.done[key]
	if !ok {
		if fetches.done == nil {
			fetches.done = map[string]error{}
		}
		err = j.fetchNow()
		fetches.done[key] = err
	}
	return err
}

func (j *Java) fetchNow() error {
	dir, err := os.MkdirTemp("", "oracle-fetch-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	if out, err := j.Run(ctx, dir, nil, "fetch"); err != nil {
		return fmt.Errorf("the reference's jars cannot be fetched: %w (%v: %s)", ErrMissing, err, out)
	}
	return nil
}

// built is what Classes has made.
var built struct {
	sync.Mutex
	classes map[string]string
}

// Classes is a folder with the classes of one program, which may use others from its folder. It is compiled once for this process.
func (j *Java) Classes(program string) (string, error) {
	built.Lock()
	defer built.Unlock()
	key := j.Version + " " + program
	if dir := built.classes[key]; dir != "" {
		return dir, nil
	}
	work, err := os.MkdirTemp("", "apogee-classes-")
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if out, err := j.Run(ctx, work, []string{"JDK_JAVAC_OPTIONS=-encoding UTF-8"}, "compile", "-sourcepath", filepath.Dir(program), program); err != nil {
		_ = os.RemoveAll(work)
		return "", fmt.Errorf("compile %s: %w\n%s", program, err, out)
	}
	if built.classes == nil {
		built.classes = map[string]string{}
	}
	built.classes[key] = filepath.Join(work, "classes")
	return built.classes[key], nil
}

// Run runs one command of the script with a working directory of its own and returns what it printed.
func (j *Java) Run(ctx context.Context, dir string, env []string, args ...string) (string, error) {
	line := within(j.Netns, append([]string{j.Script, dir}, args...)...)
	cmd := exec.CommandContext(ctx, line[0], line[1:]...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.Env = append(os.Environ(), "ORACLE_BROKER_OPTS="+or(j.BrokerOpts, smallJVM), "ORACLE_NAMESRV_OPTS="+or(j.NamesrvOpts, smallJVM),
		"ORACLE_WAIT=120", "NAMESRV_ADDR=")
	if j.Version != "" {
		cmd.Env = append(cmd.Env, "ORACLE_VERSION="+j.Version)
	}
	cmd.Env = append(cmd.Env, env...)
	// A server that the script leaves running must not keep Wait from returning.
	cmd.WaitDelay = time.Second
	cmd.SysProcAttr = attributes()
	err := cmd.Run()
	return out.String(), err
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// Name implements Target.
func (j *Java) Name() string { return "java" }

// Namesrv implements Target.
func (j *Java) Namesrv(dir string, conf Props) (Server, error) {
	ports, err := portsOf(conf, HoldPort)
	if err != nil {
		return nil, err
	}
	return j.start(dir, "namesrv", ports, conf)
}

// Broker implements Target.
func (j *Java) Broker(dir, namesrv string, conf Props) (Server, error) {
	ports, err := portsOf(conf, HoldBrokerPorts)
	if err != nil {
		return nil, err
	}
	return j.start(dir, "broker", ports, brokerBase(dir, namesrv, ports).With(conf))
}

func (j *Java) start(dir, kind string, ports *Ports, conf Props) (Server, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	s := &javaServer{java: j, dir: dir, kind: kind, ports: ports, addr: boundTo(conf, ports.Port()), conf: conf}
	return s, s.Restart(nil)
}

type javaServer struct {
	java            *Java
	dir, kind, addr string
	ports           *Ports // held as long as it may be started again
	conf            Props
	pid             int
	inRoom          bool
}

func (s *javaServer) Addr() string               { return s.addr }
func (s *javaServer) Dir() string                { return s.dir }
func (s *javaServer) PID() int                   { return s.pid }
func (s *javaServer) Stop() error                { return s.end("stop") }
func (s *javaServer) Kill() error                { return s.end("kill") }
func (s *javaServer) Signal(sig os.Signal) error { return syscall.Kill(s.pid, sig.(syscall.Signal)) }

// Died implements Server. It is the script's child, so nobody knows its exit status.
func (s *javaServer) Died() error {
	if s.Signal(syscall.Signal(0)) == nil {
		return nil
	}
	return fmt.Errorf("java %s (process %d) has ended; its last words:\n%s", s.kind, s.pid, lastWords(s.Output()))
}

func (s *javaServer) Output() string {
	text, _ := os.ReadFile(filepath.Join(s.dir, "logs", s.kind+".out"))
	return string(text)
}

func (s *javaServer) enter() {
	if s.java.Room != nil && !s.inRoom {
		s.java.Room <- struct{}{}
		s.inRoom = true
	}
}

func (s *javaServer) leave() {
	if s.inRoom {
		s.inRoom = false
		<-s.java.Room
	}
}

func (s *javaServer) end(how string) error {
	defer s.leave()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if out, err := s.java.Run(ctx, s.dir, nil, how, s.kind); err != nil {
		return fmt.Errorf("%s java %s: %w\n%s", how, s.kind, err, out)
	}
	return nil
}

func (s *javaServer) Restart(more Props) (err error) {
	s.enter()
	defer func() {
		if err != nil {
			s.leave()
		}
	}()
	s.conf = s.conf.With(more)
	file := filepath.Join(s.dir, "in-"+s.kind+".conf")
	if err := s.conf.WriteFile(file); err != nil {
		return err
	}
	args := []string{"start-broker", file}
	if s.kind == "namesrv" {
		_, port, _ := strings.Cut(s.addr, ":")
		args = []string{"start-namesrv", port, file}
	}
	err = onItsPorts(func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 150*time.Second)
		defer cancel()
		out, err := s.java.Run(ctx, s.dir, nil, args...)
		if err != nil {
			return fmt.Errorf("start java %s: %w\n%s", s.kind, err, out)
		}
		return nil
	})
	if err != nil {
		return err
	}
	text, err := os.ReadFile(filepath.Join(s.dir, "pids", s.kind+".pid"))
	if err != nil {
		return err
	}
	s.pid, err = strconv.Atoi(strings.TrimSpace(string(text)))
	return err
}
