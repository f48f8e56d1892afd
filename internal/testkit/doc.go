// Package testkit starts and stops servers for tests that need real processes: our own binary, and the Java reference through
// the oracle script. It also finds the shared material beside the repository and unpacks golden directories.
//
// It makes no claim about what a server does; that is for its callers. Start reading at [Target].
package testkit
