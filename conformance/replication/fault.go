package replication

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"apogee/internal/testkit"
)

// Fault is what goes wrong in a cell, while clients work.
type Fault int

var faults = [...]struct {
	name string
	do   func(c *cell, round int) error
}{
	{"clean", func(c *cell, _ int) error { return c.pause(c.Load) }},
	{"kill-master", func(c *cell, _ int) error { return c.kill(master) }},
	{"kill-slave", func(c *cell, _ int) error { return c.kill(slave) }},
	{"partition", (*cell).partition},
	{slowDisk, (*cell).slowDisks},
}

const slowDisk = "slow-disk"

func (f Fault) String() string { return faults[f].name }

// MarshalText is the name, for files: numbers change with the list.
func (f Fault) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// UnmarshalText reads a name.
func (f *Fault) UnmarshalText(name []byte) error {
	for i := range faults {
		if faults[i].name == string(name) {
			*f = Fault(i)
			return nil
		}
	}
	return fmt.Errorf("there is no fault %q", name)
}

// kill kills one of the two, and starts it again a little later.
func (c *cell) kill(who role) error {
	if err := c.brokers[who].Kill(); err != nil {
		return err
	}
	if err := c.pause(c.Load / 2); err != nil {
		return err
	}
	return c.brokers[who].Restart(nil)
}

// housekeeping is after how much silence connections of replicas are given up. Some of the cuts last longer.
const housekeeping = 2500 * time.Millisecond

func (c *cell) partition(round int) error {
	cuts := [...]struct {
		line line
		hold time.Duration
	}{{between, housekeeping + time.Second}, {toSlave, time.Second}, {toMaster, housekeeping + time.Second}, {between, time.Second}}
	cut := cuts[round%len(cuts)]
	if err := c.network.cut(cut.line); err != nil {
		return fmt.Errorf("cut the line %v: %w", cut.line, err)
	}
	return errors.Join(c.pause(cut.hold), c.network.mend())
}

// prepareDisks makes what slows the disks of both.
func (c *cell) prepareDisks() error {
	for _, who := range []role{master, slave} {
		t, err := newThrottled(filepath.Join(c.dir, who.String(), "store"))
		switch {
		case err == nil:
			c.disks[who] = t
		case errors.Is(err, testkit.ErrMissing):
			c.Progress("%v: no slow disks, processes are halted again and again instead: %v", c.Cell, err)
			c.disks[who] = &halting{}
		default:
			return err
		}
		c.Slow = c.disks[who].String()
	}
	return nil
}

// slowDisks slows the slave's disk, and then the master's.
func (c *cell) slowDisks(int) error {
	for _, who := range []role{slave, master} {
		if err := c.disks[who].slow(c.brokers[who]); err != nil {
			return err
		}
		err := errors.Join(c.pause(c.Load), c.disks[who].restore())
		if err != nil {
			return err
		}
	}
	return nil
}
