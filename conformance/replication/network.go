package replication

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"apogee/internal/testkit"
)

// host is where a broker runs.
type host struct {
	netns string // its network namespace; "" is the one of the test
	addr  string
}

// network is where the brokers and clients of a cell are.
type network interface {
	host(role) host
	client() string // address of the name server, which is where the clients are
	// slaveConf is what a slave has to be told to reach its master over a line that can be cut; masters listens for replicas at an address.
	slaveConf(masters string) (testkit.Props, error)
	cut(line) error
	mend() error
	close()
	String() string
}

// role is which of the two brokers.
type role int

const (
	master role = iota
	slave
)

func (r role) String() string { return [...]string{"master", "slave"}[r] }

// line is what can be cut.
type line int

const (
	between line = iota // master and slave; clients and name server reach both
	toSlave             // the slave's host is alone
	toMaster
)

func (l line) String() string {
	return [...]string{"between master and slave", "to the slave's host", "to the master's host"}[l]
}

// hosts are three hosts: one network namespace for each broker, and this one for name server and clients. Each two are connected by a pair
// of virtual interfaces, which have the addresses of their hosts:
//
//	          198.18.n.1 (here)
//	    apgNm /            \ apgNs
//	      c0 /              \ c0
//	198.18.n.2 (master) -- 198.18.n.3 (slave)
//	                  h0  h0
type hosts struct {
	n   int
	off []string // arguments of ip that took interfaces down, without "down"
}

const mostNetworks = 250

// newHosts makes them. The error is testkit.ErrMissing where that is not possible. The name of an interface is what two runs at the same
// time cannot both have.
func newHosts() (*hosts, error) {
	if os.Geteuid() != 0 {
		return nil, fmt.Errorf("network namespaces are root's: %w", testkit.ErrMissing)
	}
	if _, err := exec.LookPath("ip"); err != nil {
		return nil, fmt.Errorf("the command ip: %w", testkit.ErrMissing)
	}
	for n := range mostNetworks {
		h := &hosts{n: n}
		switch err := ip("link", "add", h.link(master), "type", "veth", "peer", "name", "apgx"+fmt.Sprint(n)); {
		case err != nil && strings.Contains(err.Error(), "File exists"):
			continue
		case err != nil:
			return nil, fmt.Errorf("%w: %w", err, testkit.ErrMissing)
		}
		if err := h.connect(); err != nil {
			h.close()
			return nil, fmt.Errorf("%w: %w", err, testkit.ErrMissing)
		}
		return h, nil
	}
	return nil, errors.New("all networks are taken: ip link del apg0m, and so on, removes what other runs left")
}

func (h *hosts) link(r role) string      { return fmt.Sprintf("apg%d%s", h.n, r.String()[:1]) }
func (h *hosts) client() string          { return fmt.Sprintf("198.18.%d.1", h.n) }
func (h *hosts) String() string          { return "namespaces" }
func (h *hosts) host(r role) host        { return host{h.link(r), fmt.Sprintf("198.18.%d.%d", h.n, 2+int(r))} }
func (h *hosts) peer(r role) (addr host) { return h.host(1 - r) }

// connect lays all three lines; the one between master and here is there already, but for its ends.
func (h *hosts) connect() error {
	var errs []error
	do := func(args ...string) { errs = append(errs, ip(args...)) }
	for _, r := range []role{master, slave} {
		at := h.host(r)
		do("netns", "add", at.netns)
		do("-n", at.netns, "link", "set", "lo", "up")
		if r == master {
			do("link", "set", fmt.Sprint("apgx", h.n), "netns", at.netns, "name", "c0")
		} else {
			do("link", "add", h.link(r), "type", "veth", "peer", "name", "c0", "netns", at.netns)
		}
		do("addr", "add", h.client(), "peer", at.addr, "dev", h.link(r))
		do("link", "set", h.link(r), "up")
		do("-n", at.netns, "addr", "add", at.addr, "peer", h.client(), "dev", "c0")
		do("-n", at.netns, "link", "set", "c0", "up")
	}
	do("-n", h.host(master).netns, "link", "add", "h0", "type", "veth", "peer", "name", "h0", "netns", h.host(slave).netns)
	for _, r := range []role{master, slave} {
		do("-n", h.host(r).netns, "addr", "add", h.host(r).addr, "peer", h.peer(r).addr, "dev", "h0")
		do("-n", h.host(r).netns, "link", "set", "h0", "up")
	}
	return errors.Join(errs...)
}

func (h *hosts) slaveConf(string) (testkit.Props, error) { return nil, nil }

func (h *hosts) cut(l line) error {
	if l != toMaster && l != toSlave {
		return h.down("-n " + h.host(master).netns + " link set h0")
	}
	r := master
	if l == toSlave {
		r = slave
	}
	return errors.Join(h.down("link set "+h.link(r)), h.down("-n "+h.host(r).netns+" link set h0"))
}

func (h *hosts) down(what string) error {
	h.off = append(h.off, what)
	return ip(append(strings.Fields(what), "down")...)
}

func (h *hosts) mend() (err error) {
	for _, what := range h.off {
		err = errors.Join(err, ip(append(strings.Fields(what), "up")...))
	}
	h.off = nil
	return err
}

// close removes everything; interfaces go with their namespaces.
func (h *hosts) close() {
	for _, r := range []role{master, slave} {
		_ = ip("netns", "del", h.link(r)) // what was not made, in part
		_ = ip("link", "del", h.link(r))
	}
}

func ip(args ...string) error {
	var out bytes.Buffer
	cmd := exec.Command("ip", args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(out.String()))
	}
	return nil
}
