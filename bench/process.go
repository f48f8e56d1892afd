package bench

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// clockTicks is USER_HZ, in which /proc counts processor time; it is 100 on every Linux that Go runs on.
const clockTicks = 100

// CPU is the processor time that a process has used so far, in user and kernel.
func CPU(pid int) (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The second field is the name in parentheses, which may hold blanks.
	_, rest, ok := bytes.Cut(b, []byte(") "))
	fields := strings.Fields(string(rest))
	if !ok || len(fields) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat: %q", pid, b)
	}
	user, err1 := strconv.ParseInt(fields[11], 10, 64)
	system, err2 := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * (time.Second / clockTicks), errors.Join(err1, err2)
}

// Memory is what of a process is in memory.
type Memory struct {
	Resident  int64 `json:"resident"`  // all of it, bytes
	Anonymous int64 `json:"anonymous"` // without mapped files
}

// higher takes the larger one of each figure.
func (m Memory) higher(o *Memory) *Memory {
	if o != nil {
		m.Resident, m.Anonymous = max(m.Resident, o.Resident), max(m.Anonymous, o.Anonymous)
	}
	return &m
}

// MemoryOf reads the memory of a process, from the counters that cost the process nothing.
func MemoryOf(pid int) (Memory, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return Memory{}, err
	}
	return parseMemory(string(b)), nil
}

func parseMemory(status string) Memory {
	var m Memory
	for line := range strings.Lines(status) {
		key, value, _ := strings.Cut(line, ":")
		kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		if err != nil {
			continue
		}
		switch key {
		case "VmRSS":
			m.Resident = kib << 10
		case "RssAnon":
			m.Anonymous = kib << 10
		}
	}
	return m
}

// watchMemory looks at the memory of a process until the returned function is called, which tells the highest that was seen.
func watchMemory(pid int) func() *Memory {
	if pid == 0 {
		return func() *Memory { return nil }
	}
	quit, ended := make(chan struct{}), make(chan struct{})
	var most *Memory
	go func() {
		defer close(ended)
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for {
			if m, err := MemoryOf(pid); err == nil {
				most = m.higher(most)
			}
			select {
			case <-quit:
				return
			case <-tick.C:
			}
		}
	}()
	return func() *Memory {
		close(quit)
		<-ended
		return most
	}
}

// machineCPU is the processor time of the whole machine, idle time left out.
func machineCPU() (time.Duration, error) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	line, _, _ := strings.Cut(string(b), "\n")
	var busy int64
	for i, f := range strings.Fields(line)[1:] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, err
		}
		if i != 3 && i != 4 && i < 8 { // idle, iowait; guest time is in user time already
			busy += n
		}
	}
	return time.Duration(busy) * (time.Second / clockTicks), nil
}

// ErrNotLocal says that the process behind an address cannot be found on this machine.
var ErrNotLocal = errors.New("no process on this machine listens there")

// Listener is the process that listens on the port of an address, if it is on this machine and may be looked at.
func Listener(addr string) (int, error) {
	host, text, err := net.SplitHostPort(addr)
	if err != nil {
		return 0, err
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		return 0, err
	}
	if ip := net.ParseIP(host); ip == nil || !local(ip) {
		return 0, fmt.Errorf("%s: %w", addr, ErrNotLocal)
	}
	inodes := map[string]bool{}
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		b, err := os.ReadFile(table)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(b)) {
			f := strings.Fields(line)
			if len(f) > 9 && f[3] == "0A" && strings.HasSuffix(f[1], fmt.Sprintf(":%04X", port)) {
				inodes["socket:["+f[9]+"]"] = true
			}
		}
	}
	fds, err := filepath.Glob("/proc/[0-9]*/fd/*")
	if err != nil {
		return 0, err
	}
	for _, fd := range fds {
		if to, err := os.Readlink(fd); err == nil && inodes[to] {
			return strconv.Atoi(strings.Split(fd, "/")[2])
		}
	}
	return 0, fmt.Errorf("%s: %w", addr, ErrNotLocal)
}

func local(ip net.IP) bool {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return ip.IsLoopback()
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.Equal(ip) {
			return true
		}
	}
	return ip.IsLoopback()
}

// usage is the processor time of the broker, of this process and of the machine at one moment.
type usage struct {
	at                    time.Time
	broker, self, machine time.Duration
}

func measure(pid int) usage {
	u := usage{at: time.Now()}
	if pid > 0 {
		u.broker, _ = CPU(pid)
	}
	u.self, _ = CPU(os.Getpid())
	u.machine, _ = machineCPU()
	return u
}

// WatchOthers starts to look at what else runs on this machine. The function tells how many processors it has taken since, without this
// process and without a broker, which may have been started meanwhile (then before is 0).
func WatchOthers(before int) func(broker int) float64 {
	u := measure(before)
	return func(broker int) float64 {
		v := measure(broker)
		others := v.machine - u.machine - (v.self - u.self) - (v.broker - u.broker)
		return max(0, others.Seconds()/v.at.Sub(u.at).Seconds())
	}
}
