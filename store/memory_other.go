//go:build !linux

package store

// physicalMemory is the size of the machine's memory in bytes.
func physicalMemory() int64 { return memoryUnknown }
