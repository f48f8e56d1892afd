// Package clock is the one place that reads the machine's clock.
//
// Everything else takes a Now func() time.Time, so that tests decide what time it is; a lint test keeps time.Now out of other
// packages. There is nothing else here.
package clock

import "time"

// Now is the machine's clock, wall and monotonic.
func Now() time.Time { return time.Now() }
