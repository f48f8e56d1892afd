// Package faults runs a whole broker, its ports included, on a file system in memory that loses power, fails or fills up, and looks for
// every message that was acknowledged. Its figures are what bin/fault-test prints; each comes with the seed that it can be had again with.
//
//   - [PowerCuts]: lives of a broker under load, each ended by a power cut before a file operation that the seed chooses, be it in the middle
//     of a start, a stop or a recovery; of what was not synced the seed keeps, drops or tears what it likes.
//   - [Faults]: operations on one kind of file fail for a while, or for good, while clients send, and then do not any more.
//   - [Replicas]: the disk of a slave has no room for a while.
//   - [Truncations]: on a real disk, files are cut short underneath a broker that serves from them.
//
// What the seed chooses is the load, the moment and what is left of the disk. How goroutines take turns is the machine's choice, so that a
// finding may need a few runs with its seed.
package faults
