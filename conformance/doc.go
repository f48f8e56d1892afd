// Package conformance checks what a client can see, on Apogee and on the Java reference alike.
//
// A [Case] bears the name of one row of the feature list. It drives the official Go client, or raw frames where that client cannot
// do what is to be shown, and asserts; a case that the reference fails is wrong. The package starts servers through a
// testkit.Target, or works against a running cluster. It is imported by nothing but its own command, cmd/conformance.
// Start reading at [Cases] and [Run]; the cases are in the files named after their area.
package conformance
