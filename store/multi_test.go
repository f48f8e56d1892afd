package store

import (
	"testing"

	"apogee/store/record"
)

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

// A half message enters its light queues when it is committed, and not before.
func TestUndecidedAreInNoLightQueue(t *testing.T) {
	r := newRig(t, func(o *Options) { o.EnableLmq, o.EnableMultiDispatch = true, true })
	s := r.open()
	for topic, want := range map[string]string{halfTopic: "", givenUpTopic: "", "Topic": "0"} {
		m := message(topic, 0, "x")
		m.Properties = "INNER_MULTI_DISPATCH\x01%LMQ%a\x02"
		if res := s.PutWait(m); res.Status != PutOK {
			t.Fatal(res.Err)
		} else if got := propertyAt(t, s, res.PhysicalOffset, record.PropMultiDispatchQueue); got != want {
			t.Errorf("%s: offset %q in the light queue, want %q", topic, got, want)
		}
	}
	if got := s.MaxOffset("%LMQ%a", 0); got != 1 {
		t.Errorf("%d entries in the light queue", got)
	}
	killed := r.on(r.mem.KillClone())
	must(t, s.Close())
	s = killed.open()
	defer s.Close()
	if got := s.MaxOffset("%LMQ%a", 0); got != 1 {
		t.Errorf("%d entries in the light queue after a kill", got)
	}
}

func propertyAt(t *testing.T, s *Store, physical int64, name string) string {
	t.Helper()
	rec, release, err := s.View(physical)
	must(t, err)
	defer release()
	var m record.Message
	must(t, record.Decode(rec, &m))
	return string([]byte(record.Property(m.Properties, name)))
}

// TestOffsetsThatSendersMakeUp has messages of a batch say where they stand in light queues.
func TestOffsetsThatSendersMakeUp(t *testing.T) {
	r := newRig(t, func(o *Options) { o.EnableLmq, o.EnableMultiDispatch = true, true })
	s := r.open()
	items := []BatchItem{
		{Body: []byte("x"), Properties: "INNER_MULTI_DISPATCH\x01%LMQ%a\x02INNER_MULTI_QUEUE_OFFSET\x01100\x02K\x01v\x02"},
		{Body: []byte("y"), Properties: "INNER_MULTI_QUEUE_OFFSET\x01200\x02INNER_MULTI_DISPATCH\x01%LMQ%a\x02"},
	}
	if res := s.PutBatch(message("Topic", 0, ""), items, nil); res.Status != PutOK || res.Count != 2 {
		t.Fatalf("batch: %+v", res)
	}
	m := message("Topic", 0, "z")
	m.Properties = "INNER_MULTI_DISPATCH\x01%LMQ%a\x02"
	put(t, s, m)
	check := func() {
		t.Helper()
		if lo, hi := s.MinOffset("%LMQ%a", 0), s.MaxOffset("%LMQ%a", 0); lo != 0 || hi != 1 {
			t.Errorf("%d to %d", lo, hi)
		}
	}
	eventually(t, func() bool { return s.MaxOffset("Topic", 0) == 3 })
	check()
	must(t, s.commit.commitStaged())
	clone := r.on(r.mem.KillClone()) // entries are made again from the log
	abandon(s)
	s = clone.open()
	defer s.Close()
	check()
	if got := recordAt(t, s, 0); record.Property(got.Properties, "K") != "v" {
		t.Errorf("properties %q", got.Properties)
	}
}
