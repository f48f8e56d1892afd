package bench

import (
	"testing"
	"time"
)

func TestBareTailDeliversAll(t *testing.T) {
	res, err := BareTail(t.Context(), TailOptions{Dir: t.TempDir(), Rate: 2_000, Duration: 200 * time.Millisecond, Pause: 50 * time.Microsecond})
	if err != nil {
		t.Fatal(err)
	}
	if res.Messages != 400 || res.Delivered != 400 || res.BrokerCPU <= 0 || res.Delivery.P50 <= 0 {
		t.Errorf("%d sent, %d delivered, %v us each, half within %v; want 400 of both and positive figures", res.Messages, res.Delivered, res.BrokerCPU, res.Delivery.P50)
	}
}

func TestBareTailRefuses(t *testing.T) {
	for _, o := range []TailOptions{{}, {Rate: 1}, {Rate: 1, Duration: 1, Pause: -1}, {Rate: 1e6, Duration: 1}} {
		if _, err := BareTail(t.Context(), o); err == nil {
			t.Errorf("%+v was taken", o)
		}
	}
}
