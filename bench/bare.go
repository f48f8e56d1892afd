package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// What a machine can do by itself is what a broker's figures are compared with. The loops here do nothing but write, as a log is written,
// to files in the folder that the store would be in.

// BareOptions say what a bare loop writes.
type BareOptions struct {
	Dir      string        // on the disk to be measured; a file in it comes and goes
	Record   int           // bytes of a record
	Group    int           // records in one write, and in one sync
	Warm     bool          // appends without sync: write the same few pages again and again instead of fresh ones
	Duration time.Duration // end after so long
	Count    int64         // end after so many records, if not 0
}

const (
	bareFile = 1 << 30  // bytes of a file, like a segment of the log
	warmFile = 64 << 20 // bytes that a warm run stays in
)

func (o *BareOptions) check() error {
	switch {
	case o.Record < 1 || o.Group < 1 || int64(o.Record)*int64(o.Group) > warmFile:
		return fmt.Errorf("%d records of %d bytes are not a write of 1 to %d bytes", o.Group, o.Record, warmFile)
	case o.Duration <= 0 && o.Count <= 0:
		return errors.New("neither a duration nor a count")
	}
	return nil
}

// BareSync writes Group records with one write and syncs them, again and again: with a group of one it is what a single client with
// synchronous flush can get at best, with a large one what many can. Messages are records; the delay is that of one write with its sync.
func BareSync(ctx context.Context, o BareOptions) (Result, error) {
	return bare(ctx, o, fmt.Sprintf("%d records of %d bytes for each write and fdatasync, to a preallocated file", o.Group, o.Record), true)
}

// BareAppend writes without sync, which is what a log with asynchronous flush costs at least. The delay is that of one write.
func BareAppend(ctx context.Context, o BareOptions) (Result, error) {
	pages := "fresh pages"
	if o.Warm {
		pages = "warm pages"
	}
	return bare(ctx, o, fmt.Sprintf("writes of %d bytes, to %s, no sync", o.Group*o.Record, pages), false)
}

// CPUPerKiB is the processor time of a bare run for 1,024 bytes, in microseconds.
func (r *Result) CPUPerKiB() float64 {
	if r.Bytes == 0 {
		return 0
	}
	return r.BrokerCPU * float64(r.Messages) / (float64(r.Bytes) / 1024)
}

// bare runs one loop. Its processor time, which is that of its thread, stands where other runs have the broker's.
func bare(ctx context.Context, o BareOptions, settings string, sync bool) (Result, error) {
	res := Result{Kind: "bare write", Broker: o.Dir, Settings: settings}
	if err := o.check(); err != nil {
		return res, err
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	b := &bareLoop{o: o, sync: sync, data: make([]byte, o.Record*o.Group), delay: newBareHistogram()}
	for i := range b.data {
		b.data[i] = byte('a' + i%23)
	}
	err := b.open()
	defer func() { b.close() }()
	if err != nil {
		return res, err
	}
	if o.Warm && !sync {
		// Once over all of it, so that its pages are there.
		if err := b.fill(); err != nil {
			return res, err
		}
	}
	machine, _ := machineCPU()
	cpu, began := threadCPU(), time.Now()
	err = b.loop(ctx, began)
	res.Elapsed = time.Since(began)
	cpu = threadCPU() - cpu
	after, _ := machineCPU()
	res.Messages, res.Requests, res.Bytes = b.writes*int64(o.Group), b.writes, b.writes*int64(len(b.data))
	l := latencyOf(b.delay)
	res.Send = &l
	if seconds := res.Elapsed.Seconds(); res.Messages > 0 && seconds > 0 {
		res.Rate = float64(res.Messages) / seconds
		res.BrokerPID, res.BrokerCPUShare = os.Getpid(), cpu.Seconds()/seconds
		res.BrokerCPU = float64(cpu.Nanoseconds()) / 1000 / float64(res.Messages)
		res.OtherLoad = max(0, (after-machine-cpu).Seconds()/seconds)
	}
	return res, err
}

// newBareHistogram starts at a hundred nanoseconds: a write to warm pages is over soon.
func newBareHistogram() *hdrhistogram.Histogram { return hdrhistogram.New(100, int64(time.Minute), 3) }

type bareLoop struct {
	o      BareOptions
	sync   bool
	data   []byte
	file   *os.File
	at     int64
	writes int64
	delay  *hdrhistogram.Histogram
}

// size is how far a file goes.
func (b *bareLoop) size() int64 {
	if b.o.Warm && !b.sync {
		return warmFile
	}
	return bareFile
}

// open takes a new file in the place of the present one, if there is one.
func (b *bareLoop) open() error {
	b.close()
	f, err := os.CreateTemp(b.o.Dir, "bare-*.dat")
	if err != nil {
		return err
	}
	b.file, b.at = f, 0
	if err := preallocate(f, b.size()); err != nil {
		return fmt.Errorf("preallocate %s: %w", f.Name(), err)
	}
	return f.Sync()
}

func (b *bareLoop) close() {
	if b.file == nil {
		return
	}
	_ = b.file.Close()
	_ = os.Remove(b.file.Name())
	b.file = nil
}

func (b *bareLoop) fill() error {
	for at := int64(0); at+int64(len(b.data)) <= b.size(); at += int64(len(b.data)) {
		if _, err := b.file.WriteAt(b.data, at); err != nil {
			return err
		}
	}
	return nil
}

func (b *bareLoop) loop(ctx context.Context, began time.Time) error {
	last := began
	for ctx.Err() == nil {
		if b.o.Duration > 0 && last.Sub(began) >= b.o.Duration || b.o.Count > 0 && b.writes*int64(b.o.Group) >= b.o.Count {
			return nil
		}
		if b.at+int64(len(b.data)) > b.size() {
			if err := b.next(); err != nil {
				return err
			}
			last = time.Now() // a new file is not part of any write's delay
		}
		if _, err := b.file.WriteAt(b.data, b.at); err != nil {
			return err
		}
		if b.sync {
			if err := datasync(b.file); err != nil {
				return fmt.Errorf("sync %s: %w", filepath.Base(b.file.Name()), err)
			}
		}
		b.at += int64(len(b.data))
		b.writes++
		now := time.Now()
		_ = b.delay.RecordValue(min(int64(now.Sub(last)), int64(time.Minute)))
		last = now
	}
	return ctx.Err()
}

func (b *bareLoop) next() error {
	if b.o.Warm && !b.sync {
		b.at = 0
		return nil
	}
	return b.open()
}
