package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"apogee/bench"
)

// Loads write a gigabyte a second, and a broker whose disk is nearly full refuses messages. So before a row, and before each step of those that
// have several, the segments of both brokers but the last few go if there is not room for some more loads. The brokers delete them
// themselves, as they would in production.
const (
	roomWanted = 30 // GB
	kept       = 2  // segments
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

// prune makes room if the disk has less than is wanted. It is not for loads that need what was stored before them.
func (p *pair) prune(ctx context.Context) error {
	free, err := room(p.dir)
	if err != nil || free >= int64(p.room)<<30 {
		return err
	}
	for _, x := range p.subjects {
		err := p.alone(x, func() error {
			before := len(x.logFiles())
			err := deleteSegments(ctx, x, func() error { return bench.Request(x.broker.Addr(), codeDeleteExpired) })
			p.progress("%d GB left on the disk: %s had %d segments, %d are left", free>>30, x.name(), before, len(x.logFiles()))
			return err
		})
		if err != nil {
			return fmt.Errorf("old segments of %s: %w", x.name(), err)
		}
	}
	return p.refill(ctx) // what was in memory of them is free now
}

// deleteSegments has a broker, which ask asks for it, delete all but the last few, and waits until it has. One that does not in time keeps
// what is left.
func deleteSegments(ctx context.Context, x *subject, ask func() error) error {
	end := time.Now().Add(pruning)
	for asked := (time.Time{}); time.Now().Before(end); {
		if len(x.logFiles()) <= kept+1 { // one may be made ahead
			return nil
		}
		if time.Since(asked) > 10*time.Second { // what is asked for is forgotten after a while
			if err := errors.Join(age(x, kept), ask()); err != nil {
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
