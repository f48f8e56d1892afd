//go:build !linux

package bench

import (
	"os"
	"time"
)

// preallocate can only give a file its length here.
func preallocate(f *os.File, size int64) error { return f.Truncate(size) }

func datasync(f *os.File) error { return f.Sync() }

// threadCPU is not known here.
func threadCPU() time.Duration { return 0 }
