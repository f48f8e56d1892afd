package faults

import (
	"encoding/binary"
	"errors"
	"fmt"
	"path"
	"sync"

	"apogee/store/vfs"
)

// errOff is what every file operation gets once the power is off.
var errOff = errors.New("the power is off")

// power is the supply of one life: it goes off before the file operation that it was set to.
type power struct {
	mem    *vfs.Mem
	seed   uint64
	ledger *ledger
	async  bool
	kill   bool // it is the process that ends, not the power
	off    chan struct{}

	mu    sync.Mutex // guards what follows
	left  int        // operations until then
	done  int        // operations so far
	dead  bool
	after *vfs.Mem // what is left
}

func newPower(mem *vfs.Mem, seed uint64, left int, l *ledger) *power {
	return &power{mem: mem, seed: seed, left: left, ledger: l, off: make(chan struct{})}
}

// fs is the file system as it is seen while there is power.
func (p *power) fs() vfs.FS { return vfs.Faulty(p.mem, p.check) }

func (p *power) check(op vfs.Op, name string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead {
		return errOff
	}
	p.watch(op, name)
	if p.done++; p.done == p.left {
		p.cutLocked()
		return errOff
	}
	return nil
}

// watch notes which offsets are on disk, as far as that can be told from the operations: there is one writer of their file, so when a write
// begins, the one before has ended.
func (p *power) watch(op vfs.Op, name string) {
	switch {
	case op == vfs.OpCreate && path.Base(name) == "consumerOffset.json.tmp", op == vfs.OpRename && path.Base(name) == "consumerOffset.json.bak":
		p.ledger.persisting()
	}
}

// cut switches the power off now, unless it is off.
func (p *power) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.dead {
		p.cutLocked()
	}
}

// cutLocked first asks what was promised: what is acknowledged from here on is not in the clone.
func (p *power) cutLocked() {
	p.dead = true
	var durable func(int64) bool
	if p.async && !p.kill {
		durable = p.durable
	}
	p.ledger.cut(durable)
	if p.kill {
		p.after = p.mem.Fork()
	} else {
		p.after = p.mem.CrashClone(p.seed)
	}
	close(p.off)
}

// durable tells whether no power cut could take a record from the log: it, and all that is before it, has been synced.
func (p *power) durable(phys int64) bool {
	if phys < 0 {
		return false
	}
	for base := int64(0); base <= phys; base += logFileSize {
		name, end := path.Join(root, "commitlog", fmt.Sprintf("%020d", base)), int64(logFileSize)
		if _, err := p.mem.Stat(name); err != nil {
			continue // it was deleted
		}
		if base+end > phys {
			var size [4]byte
			if _, err := vfs.ReadAt(p.mem, name, size[:], phys-base); err != nil {
				return false
			}
			end = phys - base + int64(binary.BigEndian.Uint32(size[:]))
		}
		if !p.mem.Synced(name, 0, end) {
			return false
		}
	}
	return true
}

func (p *power) isOff() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dead
}
