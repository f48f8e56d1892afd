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
	lane := NewLane("one", 1, 1)
	(&Request{batch: &s, replier: Replier{conn: &Conn{ep: newEndpoint(nil, nil)}}}).GoOn(lane, func(d *Request) {
		if d.batch != nil {
			t.Error("a request in a lane is in no batch")
		}
	})
	lane.Close()
	if !s.handed {
		t.Error("who goes on in a lane hands over")
	}
	(&Request{}).HandOver()
}
