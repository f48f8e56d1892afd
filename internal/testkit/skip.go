package testkit

// CountsAllocations skips a test of how much is allocated where that cannot be told: the race detector makes sync.Pool drop things at
// random, and allocates itself.
func CountsAllocations(t interface {
	Helper()
	Skip(args ...any)
},
) {
	t.Helper()
	if RaceDetector {
		t.Skip("SKIPPED, allocations are not counted: the race detector allocates, and makes pools drop things; the unit stage of bin/test runs this without it")
	}
}
