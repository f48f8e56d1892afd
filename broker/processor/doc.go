// Package processor answers the broker's requests: one file for each request code or small family of codes, named after its number.
//
// table.go is the list of what is served, in which lane, and of what is not. A handler decodes its typed header, checks in
// the order that Java checks (clients see the difference), asks one of the interfaces in deps.go, and answers. Handlers without a lane
// run on a connection's event loop and must not block.
//
// The package opens no ports and starts nothing: package broker wires it. Start reading at table.go.
package processor
