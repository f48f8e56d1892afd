package remoting

import "testing"

// HandOver reaches the loop from a request of a batch; one in a lane has no loop to tell.
func TestHandOver(t *testing.T) {
	var s scratch
	(&Request{batch: &s}).HandOver()
	if !s.handed {
		t.Error("the loop is not told")
	}
	s.handed = false
	if d := (&Request{batch: &s}).Detach(); !s.handed || d.batch != nil {
		t.Errorf("who detaches hands over: %v, %v", s.handed, d.batch)
	}
	(&Request{}).HandOver()
}
