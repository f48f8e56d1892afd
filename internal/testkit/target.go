package testkit

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// Target is an implementation of the two servers that can be started here.
type Target interface {
	Name() string
	// Namesrv starts a name server that keeps its files in dir.
	Namesrv(dir string, conf Props) (Server, error)
	// Broker starts a broker that keeps its store in dir/store and registers with the name servers (may be empty).
	// A listenPort in conf is used, else the kernel chooses.
	Broker(dir, namesrv string, conf Props) (Server, error)
}

// Server is one running name server or broker.
type Server interface {
	Addr() string
	Dir() string // what Target was given
	PID() int
	Output() string
	// Died is nil while the process runs, else an error with how it has ended and its last words.
	Died() error
	Signal(sig os.Signal) error
	Stop() error // clean, waits
	Kill() error // kill -9, waits
	// Restart starts the same server again, on the same port and files, with settings added. It must have been stopped or killed.
	Restart(more Props) error
}

// StoreDir is where a broker that a Target started has its files.
func StoreDir(s Server) string { return filepath.Join(s.Dir(), "store") }

// Apogee starts our own binary.
type Apogee struct {
	Bin   string
	Netns string // the network namespace to run it in; "" is the one of the test
}

func (Apogee) Name() string { return "apogee" }

// Namesrv implements Target.
func (a Apogee) Namesrv(dir string, conf Props) (Server, error) {
	ports, err := portsOf(conf, HoldPort)
	if err != nil {
		return nil, err
	}
	base := Props{
		"listenPort": ports.Text(), "bindAddress": "127.0.0.1",
		"kvConfigPath": filepath.Join(dir, "namesrv", "kvConfig.json"), "configStorePath": filepath.Join(dir, "namesrv", "namesrv.properties"),
	}
	return a.start(dir, "namesrv", ports, base.With(conf))
}

// Broker implements Target.
func (a Apogee) Broker(dir, namesrv string, conf Props) (Server, error) {
	ports, err := portsOf(conf, HoldBrokerPorts)
	if err != nil {
		return nil, err
	}
	return a.start(dir, "broker", ports, brokerBase(dir, namesrv, ports).With(conf))
}

func brokerBase(dir, namesrv string, ports *Ports) Props {
	p := Props{
		"brokerIP1": "127.0.0.1", "brokerIP2": "127.0.0.1", "bindAddress": "127.0.0.1",
		"listenPort": ports.Text(), "haListenPort": ports.Replicas(),
		"storePathRootDir": filepath.Join(dir, "store"), "storePathCommitLog": filepath.Join(dir, "store", "commitlog"),
	}
	if namesrv != "" {
		p["namesrvAddr"] = namesrv
	}
	return p
}

// portsOf are the ports of a server with these settings, which are somebody else's to hold if there is one in the settings.
func portsOf(conf Props, hold func() (*Ports, error)) (*Ports, error) {
	if text := conf["listenPort"]; text != "" {
		port, err := strconv.Atoi(text)
		return &Ports{first: port}, err
	}
	return hold()
}

func (a Apogee) start(dir, command string, ports *Ports, conf Props) (Server, error) {
	s := &apogeeServer{of: a, dir: dir, command: command, ports: ports, addr: boundTo(conf, ports.Port()), conf: conf}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	return s, s.Restart(nil)
}

// boundTo is where a server with these settings is reached.
func boundTo(conf Props, port int) string {
	if host := conf["bindAddress"]; host != "" {
		return net.JoinHostPort(host, strconv.Itoa(port))
	}
	return Addr(port)
}

type apogeeServer struct {
	of                 Apogee
	dir, command, addr string
	ports              *Ports // held as long as it may be started again
	conf               Props
	proc               *Process
}

func (s *apogeeServer) Addr() string                 { return s.addr }
func (s *apogeeServer) Dir() string                  { return s.dir }
func (s *apogeeServer) PID() int                     { return s.proc.PID() }
func (s *apogeeServer) Output() string               { return s.proc.Output() }
func (s *apogeeServer) Died() error                  { return s.proc.Died() }
func (s *apogeeServer) Signal(sig os.Signal) error   { return s.proc.Signal(sig) }
func (s *apogeeServer) Stop() error                  { return s.proc.Stop() }
func (s *apogeeServer) Kill() error                  { s.proc.Kill(); return nil }
func (s *apogeeServer) file() string                 { return filepath.Join(s.dir, s.command+".conf") }
func (s *apogeeServer) commandLine() (args []string) { return []string{s.command, "-c", s.file()} }

func (s *apogeeServer) Restart(more Props) error {
	s.conf = s.conf.With(more)
	if err := s.conf.WriteFile(s.file()); err != nil {
		return err
	}
	// HOME: files whose place no setting gives go there; ROCKETMQ_HOME would change where samples are looked for.
	line := within(s.of.Netns, append([]string{s.of.Bin}, s.commandLine()...)...)
	err := onItsPorts(func() (err error) {
		s.proc, err = Start(Command{
			Path: line[0], Args: line[1:], Dir: s.dir, Ready: "boot success",
			Env: []string{"HOME=" + s.dir, "ROCKETMQ_HOME=" + s.dir, "NAMESRV_ADDR=", "TZ=UTC"},
		})
		return err
	})
	if err != nil {
		return fmt.Errorf("start apogee %s: %w", s.command, err)
	}
	return nil
}

// within is a command line that runs another one in a network namespace, in the same process.
func within(netns string, line ...string) []string {
	if netns == "" {
		return line
	}
	return append([]string{"ip", "netns", "exec", netns}, line...)
}

// WaitPort waits until something listens on addr.
func WaitPort(addr string, wait time.Duration) error {
	end := time.Now().Add(wait)
	for {
		c, err := net.DialTimeout("tcp", addr, time.Second)
		if err == nil {
			return c.Close()
		}
		if time.Now().After(end) {
			return fmt.Errorf("nothing listens on %s after %v: %w", addr, wait, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
