package store

import "errors"

// What a caller of Open may want to tell apart.
var (
	// ErrFileSize says that a mapped file has another size than the configuration says; Java refuses such a directory too.
	ErrFileSize = errors.New("wrong file size")
	// ErrForeignFile says that a directory of mapped files holds a file that cannot be one.
	ErrForeignFile = errors.New("unexpected file")
)
