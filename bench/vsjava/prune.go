package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"apogee/bench"
)

// Loads write a gigabyte a second, and a broker whose disk is nearly full refuses messages. So before a load the segments of both brokers but
// the last few go if there is not room for some more loads. The brokers delete them themselves, as they would in production.
const (
	roomWanted = 30 << 30
	kept       = 2 // segments
	pruning    = time.Minute
)

// room is how many bytes the disk of a folder has left.
func room(dir string) (int64, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return 0, fmt.Errorf("free space of the disk: %w", os.NewSyscallError("statfs", err))
	}
	return int64(fs.Bavail) * fs.Bsize, nil
}

func (p *pair) prune(ctx context.Context) error {
	if p.dir == "" {
		return nil
	}
	free, err := room(p.dir)
	if err != nil || free >= roomWanted {
		return err
	}
	p.progress("%d GB left on the disk: old segments are deleted", free>>30)
	for _, x := range p.subjects {
		if err := p.alone(x, func() error { return deleteSegments(ctx, x) }); err != nil {
			return err
		}
	}
	return p.refill(ctx) // what was in memory of them is free now
}

// deleteSegments has a broker delete all but the last few, and waits for it. One that does not in time has what is left.
func deleteSegments(ctx context.Context, x *subject) error {
	end := time.Now().Add(pruning)
	for asked := (time.Time{}); time.Now().Before(end); {
		names, err := filepath.Glob(filepath.Join(x.storeDir(), "commitlog", "[0-9]*"))
		if err != nil || len(names) <= kept+1 { // one may be made ahead
			return err
		}
		if time.Since(asked) > 10*time.Second { // what is asked for is forgotten after a while
			if err := errors.Join(age(x, kept), bench.Request(x.broker.Addr(), codeDeleteExpired)); err != nil {
				return err
			}
			asked = time.Now()
		}
		if err := sleep(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}
