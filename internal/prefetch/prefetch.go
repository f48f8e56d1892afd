// Package prefetch asks the processor to bring memory into its caches that will be needed a little later, so that several misses are
// waited for at the same time instead of one after the other.
//
// With ten thousand topics nothing of a message's topic and queue is in a cache. A load that the program does not need yet would help
// less: it holds up what comes after it until the line is there.
package prefetch

import "unsafe"

// Line asks for the cache line that p points into. It never faults, whatever p is.
func Line[T any](p *T) { line(unsafe.Pointer(p)) }

// Lines asks for the line that p points into and the next one.
func Lines[T any](p *T) { lines(unsafe.Pointer(p)) }
