package broker

import (
	"testing"
	"time"

	"apogee/broker/lite"
	"apogee/broker/pop"
)

// TestLiteOrdersAreForgotten: what was popped from a lite topic that is gone costs no memory for ever.
func TestLiteOrdersAreForgotten(t *testing.T) {
	n := startNode(t, t.TempDir(), "liteTtlCheckInterval=1\n")
	n.makeGroup("g")
	k := pop.Key{Topic: lite.Queue("P", "gone"), Group: "g"}
	n.liteOrders.Taken(k, "", time.Now().UnixMilli(), time.Hour, []int64{0}, nil)
	eventually(t, "it is remembered", func() bool { return !n.liteOrders.Blocked(k, "", time.Hour, time.Now().UnixMilli()) })
}
