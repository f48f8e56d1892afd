package testkit

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Ports are one port of all addresses, or several in a neighbourhood, that the kernel has chosen and gives to nobody else while this is kept:
// neither to a connection, which would get one of the same range, nor to who asks for any. Who names one may listen there: sockets are bound to
// them that do not listen and that allow others beside them, as all servers do (Go and Java set SO_REUSEADDR).
type Ports struct {
	first int
	held  []*os.File // each ends its hold when it is no longer referred to
}

// Release gives them back early.
func (p *Ports) Release() {
	for _, f := range p.held {
		_ = f.Close()
	}
	p.held = nil
}

// Port is the port, of a broker the one that clients use.
func (p *Ports) Port() int { return p.first }

// Text is Port as settings have it.
func (p *Ports) Text() string { return strconv.Itoa(p.first) }

// Replicas is the port of a broker for its replicas, as settings have it.
func (p *Ports) Replicas() string { return strconv.Itoa(p.first + 1) }

// HoldPort holds one port.
func HoldPort() (*Ports, error) { return holdPorts(0) }

// HoldBrokerPorts holds a port and its neighbours that a broker also opens: two below for old clients, one above for replicas.
func HoldBrokerPorts() (*Ports, error) { return holdPorts(0, -2, +1) }

// holdPorts holds a port, the first, and others at these distances from it.
func holdPorts(distances ...int) (*Ports, error) {
	// Other tests on the machine may hold tens of thousands of ports for a moment.
	var err error
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		p := &Ports{}
		for _, d := range distances {
			if err = p.hold(d); err != nil {
				p.Release()
				break
			}
		}
		if err == nil {
			return p, nil
		}
	}
	return nil, fmt.Errorf("no free ports: %w", err)
}

// hold binds a socket at a distance from the first; the first one is any.
func (p *Ports) hold(distance int) error {
	port := 0
	if len(p.held) > 0 {
		if port = p.first + distance; port < 1024 || port > 65535 {
			return errors.New("at the end of the range")
		}
	}
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	p.held = append(p.held, os.NewFile(uintptr(fd), "port"))
	// Others are allowed only once it is bound: who holds a port wants to be alone with it. All interfaces, for the reference opens some there.
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Port: port}); err != nil {
		return err
	}
	if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err != nil {
		return err
	}
	if port == 0 {
		name, err := syscall.Getsockname(fd)
		if err != nil {
			return err
		}
		p.first = name.(*syscall.SockaddrInet4).Port
	}
	return nil
}

// onItsPorts starts a server. A connection of the one before may still be open for a moment where its ports are not held: it is tried again then.
func onItsPorts(start func() error) error {
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(500 * time.Millisecond) {
		err := start()
		if err == nil || time.Now().After(end) || !portTaken(err) {
			return err
		}
	}
}

// portTaken tells whether a server says that it could not open a port, which Go and Java say in nearly the same words.
func portTaken(err error) bool { return strings.Contains(err.Error(), "ddress already in use") }

// Addr is a port of the loopback address as text.
func Addr(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
