package processor

import "testing"

// What the tests outside this package, which run whole brokers, share with those inside.

// Bodies is the bodies of the records of a pull's answer.
func Bodies(t testing.TB, records []byte) string { return bodies(t, records) }

// Props makes a properties string of "NAME=value" words.
func Props(words ...string) string { return props(words...) }
