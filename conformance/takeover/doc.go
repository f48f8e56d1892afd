// Package takeover has two implementations of the broker take over a data directory from each other, again and again, and compares what
// clients see before and after each switch. A driver sends messages of all kinds, consumes them in all ways, stops the broker, or kills
// it under load, and starts the other one on the same files. What it knows of each message is in the [ledger]; what it has read of each
// queue, by the hash of each record, in a [book].
//
// All that is random comes from one seed, which says what is done, not when the machine does it: a run is alike when it is repeated, not
// the same. Start reading at [Run].
package takeover
