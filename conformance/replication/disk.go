package replication

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"apogee/internal/testkit"
)

// slowing makes a broker's disk slow for a while.
type slowing interface {
	slow(testkit.Server) error
	restore() error
	close()
	String() string
}

// throttled is a file system of its own in a file, for one broker, whose device the kernel lets a group of processes write to slowly
// (cgroup blkio). What others have on the disk below is not slowed.
type throttled struct {
	dir    string // where it is mounted
	device string // major:minor
	group  string
}

const (
	blkio      = "/sys/fs/cgroup/blkio"
	slowWrites = "12"     // a second
	slowBytes  = "400000" // a second
)

// newThrottled mounts a new file system at store. The error is testkit.ErrMissing where that is not possible.
func newThrottled(store string) (t *throttled, err error) {
	if os.Geteuid() != 0 {
		return nil, fmt.Errorf("mounts are root's: %w", testkit.ErrMissing)
	}
	if err := os.MkdirAll(store, 0o755); err != nil {
		return nil, err
	}
	image := store + ".img"
	defer func() {
		if err != nil {
			_ = os.Remove(image)
			err = fmt.Errorf("%w: %w", err, testkit.ErrMissing)
		}
	}()
	for _, args := range [][]string{
		{"truncate", "-s", "2G", image}, {"mkfs.ext4", "-q", "-F", "-m", "0", image}, {"mount", "-o", "loop", image, store},
	} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("%q: %w: %s", args, err, out)
		}
	}
	t = &throttled{dir: store}
	_ = os.Remove(filepath.Join(store, "lost+found"))
	device, err := exec.Command("findmnt", "-n", "-o", "MAJ:MIN", store).Output()
	if err == nil {
		t.device = strings.TrimSpace(string(device))
		t.group = filepath.Join(blkio, "apogee-"+strings.ReplaceAll(t.device, ":", "-"))
		err = os.Mkdir(t.group, 0o755)
	}
	if err == nil {
		err = t.limit(slowBytes, slowWrites)
	}
	if err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}

func (t *throttled) String() string { return "throttled file system" }

func (t *throttled) limit(bytes, writes string) error {
	return errors.Join(os.WriteFile(filepath.Join(t.group, "blkio.throttle.write_bps_device"), []byte(t.device+" "+bytes), 0o600),
		os.WriteFile(filepath.Join(t.group, "blkio.throttle.write_iops_device"), []byte(t.device+" "+writes), 0o600))
}

func (t *throttled) slow(s testkit.Server) error {
	return errors.Join(t.limit(slowBytes, slowWrites), os.WriteFile(filepath.Join(t.group, "cgroup.procs"), fmt.Append(nil, s.PID()), 0o600))
}

func (t *throttled) restore() error { return t.limit("0", "0") }

// close takes the file system away. The broker has ended.
func (t *throttled) close() {
	_ = t.limit("0", "0")
	_ = os.Remove(t.group)
	if exec.Command("umount", t.dir).Run() != nil { // somebody looks at it
		_ = exec.Command("umount", "-l", t.dir).Run()
	}
	_ = os.Remove(t.dir + ".img")
}

// halting is what there is without root: the whole process stands still again and again, as one whose writes wait.
type halting struct {
	stop chan struct{}
	done sync.WaitGroup
}

func (h *halting) String() string { return "halted again and again" }

func (h *halting) slow(s testkit.Server) error {
	h.stop = make(chan struct{})
	h.done.Go(func() {
		for {
			_ = s.Signal(syscall.SIGSTOP)
			time.Sleep(200 * time.Millisecond)
			_ = s.Signal(syscall.SIGCONT)
			select {
			case <-h.stop:
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
	})
	return nil
}

func (h *halting) restore() error {
	close(h.stop)
	h.done.Wait()
	return nil
}

func (h *halting) close() {}
