// Package pop is consumption by pop: the broker hands out messages of any queue, each for a while, and takes back what nobody acknowledged
// (Java PopMessageProcessor, PopBufferMergeService, PopReviveService; spec: store.md 14, behaviour.md 8, remoting.md 7).
//
// A pop reads from the group's offset and writes one [CheckPoint] for each queue it took messages from; the offset then moves on. An
// acknowledgement is an [Ack]. Both are messages in the revive topic: they go there through the timer, a check point when its invisible
// time is almost over, an ack a second later, so that whoever reads a revive queue finds them together. The reviver does: what no ack
// covers it puts into the group's retry topic for that topic. With enablePopBufferMerge both stay in memory for a few
// seconds first, and need not be written at all where all acks come in that time.
//
// Who owns what: [Service] has the state of each queue that is popped (lock, messages in flight, check points in memory), one mutex a
// queue; the reviver's state belongs to its goroutine. Requests are in broker/processor. Waiting and ordered pops are behind [Waiting]
// and [Orders].
//
// Nothing is lost, whatever ends when: an offset that moved past popped messages is not persisted before their check points are on
// disk, and the same holds for the offset of a revive queue and what was put into retry topics.
package pop
