package store

import (
	"errors"
	"syscall"

	"apogee/store/vfs"
)

// What a caller of Open may want to tell apart.
var (
	// ErrFileSize says that a mapped file has another size than the configuration says; Java refuses such a directory too.
	ErrFileSize = errors.New("wrong file size")
	// ErrForeignFile says that a directory of mapped files holds a file that cannot be one.
	ErrForeignFile = errors.New("unexpected file")
)

// noSpace tells whether the disk is full, or somebody's share of it: that may pass.
func noSpace(err error) bool {
	return errors.Is(err, vfs.ErrNoSpace) || errors.Is(err, syscall.EDQUOT)
}

// Scarce tells whether something cannot be read for want of descriptors, mappings or memory: it is there, and can be read later.
func Scarce(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ENOMEM)
}
