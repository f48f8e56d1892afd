// Package vfs is every file operation of Apogee behind an interface, so that crashes, full disks and failing syncs can be
// tested without a disk and without luck. OS() is the real one.
package vfs

// FS is a file system.
type FS interface{}
