package store

import "golang.org/x/sys/unix"

// physicalMemory is the size of the machine's memory in bytes.
func physicalMemory() int64 {
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) != nil || info.Totalram == 0 {
		return memoryUnknown
	}
	return int64(info.Totalram) * int64(info.Unit)
}
