// Package replication runs pairs of a master and a slave through faults under load: each of the two Apogee or Java, replication async or
// sync, and nothing, a kill -9 of either, a partition or slow disks as the fault. It is what bin/replication-test runs.
//
// Each cell of that matrix is a pair of its own, on hosts that are network namespaces where the machine lets us make some ([network]).
// Producers note each message with its call, its answer and what the answer said; a consumer goes where brokers send it, another one
// reads from the slave alone, and an auditor asks the slave again and again how much it has. What they noted is the history of some
// append-only queues, which a checker of linearizability judges ([judge]): each acknowledged message is where its answer said, in an order
// that agrees with time, and nobody read anything else, or too early, from either broker.
//
// At the end of a cell the logs are compared byte by byte, and then the master is killed under load and never comes back: what a sync
// master acknowledged is read from the slave alone.
package replication
