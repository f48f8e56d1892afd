//go:build race

package testkit

// RaceDetector is whether this program was built with the race detector.
const RaceDetector = true
