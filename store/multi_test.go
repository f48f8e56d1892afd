package store

import "testing"

func TestLmqQuota(t *testing.T) {
	r := newRig(t, func(o *Options) {
		o.EnableLmq, o.EnableMultiDispatch, o.EnableLmqQuota, o.MaxLmqConsumeQueueNum = true, true, true, 2
	})
	s := r.open()
	send := func(names string) PutStatus {
		t.Helper()
		m := message("Topic", 0, "x")
		m.Properties = "INNER_MULTI_DISPATCH\x01" + names + "\x02"
		return s.PutWait(m).Status
	}
	for _, c := range []struct {
		names string
		want  PutStatus
	}{
		{"%LMQ%a", PutOK},
		{"%LMQ%b,%LMQ%c", PutOK}, // there was room for one when it came
		{"%LMQ%d", LmqConsumeQueueNumExceeded},
		{"%LMQ%a,%LMQ%d", LmqConsumeQueueNumExceeded},
		{"%LMQ%a,other", PutOK},
		{"other", PutOK},
	} {
		if got := send(c.names); got != c.want {
			t.Errorf("%s: status %d, want %d", c.names, got, c.want)
		}
	}
	if got := s.MaxOffset("Topic", 0); got != 4 {
		t.Errorf("%d messages are in the queue", got)
	}
	must(t, s.Close())
	s = r.open()
	defer s.Close()
	if got := send("%LMQ%d"); got != LmqConsumeQueueNumExceeded {
		t.Errorf("after a start: %d", got)
	}
	must(t, s.DeleteTopics("%LMQ%a", "%LMQ%b"))
	if got := send("%LMQ%d"); got != PutOK {
		t.Errorf("after two are gone: %d", got)
	}
}
