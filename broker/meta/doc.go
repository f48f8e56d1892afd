// Package meta is what the broker remembers besides messages: topics, subscription groups and consumer offsets, in memory and in
// the files of store/config under Java's names and shapes (spec: store.md 10).
//
// [Topics] and [Groups] are read on every request and changed rarely: readers take no lock and see immutable values; a change
// copies what it touches and returns when the file is on disk. [Offsets] change all the time and are written every few seconds.
// The package knows no requests and no connections. Names that come in may alias network buffers; what is kept is copied.
package meta
