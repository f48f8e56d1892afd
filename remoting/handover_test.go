package remoting

import "testing"

// HandOver reaches the loop from a request of a batch; one in a lane has no loop to tell.
func TestHandOver(t *testing.T) {
	var s scratch
	(&Request{batch: &s}).HandOver()
	if !s.handed {
		t.Error("the loop is not told")
	}
	(&Request{}).HandOver()
}
