// Package bench makes load and measures it: pipelined sends, batches, draining pulls, and an open-loop latency run, against any
// name server or broker that speaks the remoting protocol.
//
// It must cost little beside what it measures. So it has its own frames, made once and patched per message, one goroutine for each
// connection that writes as many requests as answers came in, and no queue in between. An open loop has one goroutine that writes to all
// connections what is due, and one for each that reads. What it needs of an answer (code, opaque, one or
// two numbers) is cut out of the header without decoding the rest. It knows nothing of package remoting. Start reading at [Command]
// for the flags, at [Send] for a run.
package bench
