// Package wire is a small remoting client for the conformance suite, written apart from package remoting so that a mistake there
// is not made twice: frames with both header serializations, stored messages, and Java's loose JSON. It favours plainness over speed.
// Start reading at [Conn].
package wire
