package transaction

import (
	"log/slog"
	"testing"
	"time"

	"apogee/store/vfs"
)

// TestCountsKeepTheirNames: the topic of a half message is in mapped memory, which is gone later.
func TestCountsKeepTheirNames(t *testing.T) {
	c := newCounts(vfs.NewMem(time.Now), "/d", time.Now, slog.New(slog.DiscardHandler))
	for range 2 {
		topic := []byte("T")
		c.add(view(topic), 1)
		topic[0] = 'x'
	}
	if c.of("T") != 2 || len(c.topics) != 1 {
		t.Fatalf("%d of T, %d topics", c.of("T"), len(c.topics))
	}
	for topic := range c.topics {
		if topic != "T" {
			t.Fatalf("topic %q", topic)
		}
	}
}
