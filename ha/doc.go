// Package ha copies the log of a master to its slaves, byte for byte, and tells the master's puts how far the copies are
// (Java DefaultHAService, DefaultHAConnection, DefaultHAClient, GroupTransferService; spec: store.md 18).
//
// # Wire
//
// A slave connects to its master's haListenPort. What it sends is a stream of reports of 8 bytes: the end of its log. The first one
// is also its request: what it wants to get from there on; 0, of an empty log, is the start of the master's last file. What the
// master sends is frames:
//
//	offset size field
//	     0    8 physical offset of the first byte
//	     8    4 number of bytes; 0 is a heartbeat
//	    12      bytes of the log, which never cross a file, and may end inside of a record
//
// Both send something every haSendHeartbeatInterval, and give a connection up that was silent for haHousekeepingInterval.
//
// Between two Apogees there is more (greeting.go): the slave says who it is and proves that its log is the beginning of its master's
// before it gets anything; an empty one gets the whole log. A Java peer notices nothing of it.
//
// # Parts
//
// [Server] listens; each slave has two goroutines, one that reads its reports (peer.go) and one that sends (sender.go). [Client] is
// the slave's side, one goroutine for its connection and one that reports. [Acks] is the gate that sync puts wait at
// (store.Replicas): it has no goroutine; whoever reads a report completes those that it was for, in one go.
//
// Who counts, and how many, is a [Policy]'s decision. What Java calls controller mode, where the members of the in-sync set and
// the roles are decided elsewhere, is one more Policy and a call of [Client.Follow]; nothing else here knows of roles.
package ha
