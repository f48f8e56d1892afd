package body

import "time"

// DataVersion tells two states of a table apart. Java class DataVersion.
type DataVersion struct {
	StateVersion int64 `json:"stateVersion"`
	Timestamp    int64 `json:"timestamp"` // ms
	Counter      int64 `json:"counter"`
}

// NewDataVersion is the version of a table that was just made.
func NewDataVersion(now time.Time) DataVersion { return DataVersion{Timestamp: now.UnixMilli()} }

// Next is the version after a change. stateVersion is 0 outside controller mode.
func (v DataVersion) Next(stateVersion int64, now time.Time) DataVersion {
	return DataVersion{StateVersion: stateVersion, Timestamp: now.UnixMilli(), Counter: v.Counter + 1}
}

// Compare orders versions by state version, counter and time stamp, in that order. Two versions are the same state exactly if they
// are equal (==), which is what Java's equals looks at.
func (v DataVersion) Compare(w DataVersion) int {
	for _, d := range [...][2]int64{{v.StateVersion, w.StateVersion}, {v.Counter, w.Counter}, {v.Timestamp, w.Timestamp}} {
		if d[0] > d[1] {
			return 1
		}
		if d[0] < d[1] {
			return -1
		}
	}
	return 0
}
