package store

import (
	"strings"
	"sync/atomic"
)

// flag is one reason why the store does not take or give messages (Java RunningFlags, spec: store.md 8). Flags live in memory only.
type flag uint32

const (
	flagNotReadable     flag = 1
	flagNotWriteable    flag = 2
	flagQueueWriteError flag = 4
	flagIndexWriteError flag = 8
	flagDiskFull        flag = 16
	flagFenced          flag = 32
	flagLogicDiskFull   flag = 64

	// Not Java's: states that its callers check one by one.
	flagNotRunning flag = 128
	flagSlave      flag = 256
	flagNoSpace    flag = 512

	flagsNotWriteable = flagNotWriteable | flagQueueWriteError | flagIndexWriteError | flagDiskFull | flagFenced |
		flagLogicDiskFull | flagNotRunning | flagSlave | flagNoSpace
	flagsReplicaStopped = flagsNotWriteable &^ flagSlave
	flagsQueueStopped   = flagNotWriteable | flagQueueWriteError | flagIndexWriteError
)

// flagNames are what Writable says, in the order of the bits.
var flagNames = [...]string{
	"not readable", "closed for writing", "consume queue write error", "index write error", "disk full", "fenced", "logical disk full",
	"not running", "brokerRole is SLAVE", "no space left for the commit log",
}

type runningFlags struct{ bits atomic.Uint32 }

func (r *runningFlags) set(f flag)      { r.bits.Or(uint32(f)) }
func (r *runningFlags) clear(f flag)    { r.bits.And(^uint32(f)) }
func (r *runningFlags) has(f flag) bool { return r.bits.Load()&uint32(f) != 0 }
func (r *runningFlags) writeable() bool { return !r.has(flagsNotWriteable) }
func (r *runningFlags) readable() bool  { return !r.has(flagNotReadable) }

// String names the flags that are set.
func (r *runningFlags) String() string {
	var names []string
	for bits, i := r.bits.Load(), 0; bits != 0 && i < len(flagNames); bits, i = bits>>1, i+1 {
		if bits&1 != 0 {
			names = append(names, flagNames[i])
		}
	}
	return strings.Join(names, ", ")
}
