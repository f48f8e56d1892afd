//go:build race

package processor

// raceEnabled: the race detector makes sync.Pool drop things, so allocations are not counted under it.
const raceEnabled = true
