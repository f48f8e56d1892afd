package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"apogee/compat/body"
	"apogee/compat/fastjson"
)

// A slave beside a broker under load: its processor time counts with its master's, until it has all that was sent, and its master is asked
// how far it is.

// catchUpMost is how long a slave has after the end of a load to have all of it.
const catchUpMost = 2 * time.Minute

// slaveWatch asks a master about its slave; nil asks nobody.
type slaveWatch struct {
	master *conn
	pid    int
}

// watchSlave begins; there is nothing to watch without Options.Slave.
func (o *Options) watchSlave() (*slaveWatch, error) {
	if o.Slave == "" {
		return nil, nil
	}
	pid, err := Listener(o.Slave)
	if err != nil {
		return nil, fmt.Errorf("slave: %w", err)
	}
	c, err := dial(o.Broker)
	if err != nil {
		return nil, err
	}
	return &slaveWatch{c, pid}, nil
}

func (w *slaveWatch) close() {
	if w != nil {
		_ = w.master.Close()
	}
}

// used is the processor time of the slave.
func (w *slaveWatch) used() time.Duration {
	if w == nil {
		return 0
	}
	used, _ := CPU(w.pid) // as that of the broker
	return used
}

var errNoSlave = errors.New("the broker has no slave in sync")

// behind is how many bytes of its master's log the slave has not acknowledged.
func (w *slaveWatch) behind() (int64, error) {
	a, err := w.master.call(JSON, codeHAStatus, nil, nil)
	if err != nil {
		return 0, fmt.Errorf("state of the slave: %w", err)
	}
	if a.code != 0 {
		return 0, fmt.Errorf("state of the slave: %s", a.text())
	}
	var info body.HARuntimeInfo
	if err := fastjson.Unmarshal(a.body, &info); err != nil {
		return 0, fmt.Errorf("state of the slave: %w", err)
	}
	if len(info.HAConnectionInfo) == 0 {
		return 0, errNoSlave
	}
	return info.MasterCommitLogMaxOffset - info.HAConnectionInfo[0].SlaveAckOffset, nil
}

// caughtUp waits until the slave has everything.
func (w *slaveWatch) caughtUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, catchUpMost)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		switch left, err := w.behind(); {
		case err != nil:
			return err
		case left == 0:
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("slave has not all of its master's log: %w", ctx.Err())
		case <-tick.C:
		}
	}
}

// account waits until the slave has everything, and puts down what both brokers have used until then.
func (w *slaveWatch) account(ctx context.Context, r *Result, pid int, broker time.Duration, end usage, slave time.Duration) error {
	if err := w.caughtUp(ctx); err != nil {
		return err
	}
	last := measure(pid)
	r.Slave.CatchUp = last.at.Sub(end.at)
	if m, err := MemoryOf(w.pid); err == nil {
		r.Slave.Memory = &m
	}
	if r.Messages == 0 {
		return nil
	}
	r.Slave.CPU = float64((w.used() - slave).Microseconds()) / float64(r.Messages)
	r.BrokerCPU = float64((last.broker-broker).Microseconds())/float64(r.Messages) + r.Slave.CPU
	r.OtherLoad = max(0, r.OtherLoad-r.Slave.CPU*float64(r.Messages)/1e6/r.Elapsed.Seconds())
	return nil
}

// AwaitSlave waits until a broker has a slave that has all of its log.
func AwaitSlave(ctx context.Context, broker, slave string) error {
	o := Options{Broker: broker, Slave: slave}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		w, err := o.watchSlave()
		if err == nil {
			err = w.caughtUp(ctx)
			w.close()
		}
		if err == nil || !errors.Is(err, errNoSlave) && !errors.Is(err, ErrNotLocal) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		case <-tick.C:
		}
	}
}

// SlaveResult is how a slave got on.
type SlaveResult struct {
	Behind  int64         `json:"behind_bytes"` // at the end of the load
	CatchUp time.Duration `json:"catch_up_ns"`  // from then until it had everything
	CPU     float64       `json:"slave_cpu_us"` // of a message: its part of the broker's
	Memory  *Memory       `json:"memory,omitempty"`
}
