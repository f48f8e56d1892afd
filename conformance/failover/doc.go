// Package failover has pairs of a master and a slave that may act for it do what operators need them for, while clients work without pause.
//
//   - [Kills] kills the master again and again, and measures until consumers go on at the slave, and until they are back.
//   - [Upgrade] makes the servers of a running cluster, one at a time, those of another implementation, and back.
//
// Both look for every message that was acknowledged, compare each record with what was read in its place before, from whichever broker,
// and look for the topics, groups and offsets that were made. What clients do is in load.go, and official.go for the Go client; what is
// held together, in book.go and made.go.
package failover
