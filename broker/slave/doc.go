// Package slave keeps a slave's metadata like its master's (Java SlaveSynchronize, BrokerOuterAPI; spec: store.md 19): topics, groups with
// what is forbidden to them, consumer offsets, delay offsets, request modes, and how far the timer is.
//
// The master is asked over its ordinary port: what a slave acts by as soon as its master is gone every three seconds (topics, groups and the
// timer's checkpoint; of the first two only the data version, as long as it is the same), the rest every ten.
//
// Tables of the master replace those here, and what is missing there goes, with two exceptions, since a master may come back with an
// empty or an old disk: a table that is empty, or older than the one here, takes nothing away. What was kept for that reason is noted in
// config/slaveKept.json, so that it does not go later either, when the master's table has grown newer; until the master has it too.
package slave
