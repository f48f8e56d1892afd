package testkit

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

// Port is a port of 127.0.0.1 that was free a moment ago.
func Port() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// BrokerPort is a port whose neighbours that a broker also opens (two below for old clients, one above for replicas) are free too.
func BrokerPort() (int, error) {
	// Other tests on the machine may hold tens of thousands of ports for a moment.
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		port, err := Port()
		if err == nil && port > 1024 && port < 65000 && free(port-2) && free(port+1) {
			return port, nil
		}
	}
	return 0, errors.New("no three ports in a neighbourhood are free")
}

func free(port int) bool {
	// All interfaces: the reference opens the replica port there.
	l, err := net.Listen("tcp", ":"+strconv.Itoa(port))
	if err != nil {
		return false
	}
	return l.Close() == nil
}

// onItsPorts starts a server whose ports are settled. They are of the range that connections get theirs from, so while it was down somebody
// may have one for a moment: it is tried again then.
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
func Addr(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }
