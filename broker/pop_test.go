package broker

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"apogee/broker/pop"
	"apogee/remoting"
	"apogee/remoting/code"
	"apogee/remoting/header"
	"apogee/store/record"
)

func popHeader(group, topic string) *header.PopMessageRequest {
	return &header.PopMessageRequest{
		ConsumerGroup: group, Topic: topic, QueueID: -1, MaxMsgNums: 32, InvisibleTime: 60_000, BornTime: time.Now().UnixMilli(), ExpType: "TAG", Exp: "*",
	}
}

// popped is what a pop answered.
type popAnswer struct {
	header  header.PopMessageResponse
	records []record.Message
}

func (n *node) pop(want int32, h *header.PopMessageRequest) popAnswer {
	n.t.Helper()
	r := n.call(want, code.PopMessage, h, nil)
	var a popAnswer
	if err := a.header.DecodeFields(r.Fields); err != nil {
		n.t.Fatal(err)
	}
	for b := r.Body; len(b) > 0; {
		var m record.Message
		if err := record.Decode(b, &m); err != nil {
			n.t.Fatal(err)
		}
		a.records = append(a.records, m)
		b = b[m.StoreSize:]
	}
	return a
}

func TestPopAndAck(t *testing.T) {
	n := startNode(t, t.TempDir(), "autoCreateSubscriptionGroup=false\npopFromRetryProbability=100\n")
	n.makeGroup("g")
	n.makeTopic("T")
	for i := range 3 {
		n.send("T", fmt.Sprint("text", i))
	}
	a := n.pop(code.Success, popHeader("g", "T"))
	h := a.header
	if len(a.records) != 3 || h.InvisibleTime != 60_000 || h.RestNum != 0 || h.StartOffsetInfo != "0 0 0" || h.MsgOffsetInfo != "0 0 0,1,2" || h.OrderCountInfo != "" {
		t.Fatalf("%+v, %d messages", h, len(a.records))
	}
	if got := n.pop(code.PollingTimeout, popHeader("g", "T")); got.header.PopTime == 0 || len(got.records) != 0 {
		t.Errorf("%+v", got)
	}
	receipt := func(off int64) string {
		r := pop.Receipt{PopTime: h.PopTime, Invisible: h.InvisibleTime, ReviveQueue: h.ReviveQid, Kind: pop.KindNormal, Broker: n.live.Get().Name, Offset: off}
		return string(r.Append(nil))
	}
	ack := func(off int64) *header.AckMessageRequest {
		return &header.AckMessageRequest{ConsumerGroup: "g", Topic: "T", ExtraInfo: receipt(off), Offset: off}
	}
	n.call(code.Success, code.AckMessage, ack(0), nil)
	n.call(code.Success, code.AckMessage, ack(0), nil)
	n.call(code.NoMessage, code.AckMessage, ack(4), nil)
	madeUp := ack(0)
	madeUp.ConsumerGroup = "made up"
	n.call(code.Success, code.AckMessage, madeUp, nil)
	for group, counted := range map[string]bool{"g": true, "made up": false} {
		if _, ok := n.stats.View("GROUP_ACK_NUMS", "T@"+group); ok != counted {
			t.Errorf("acks of group %s are counted: %v", group, ok)
		}
	}
	r := n.call(code.Success, code.ChangeMessageInvisibleTime, &header.ChangeInvisibleTimeRequest{
		ConsumerGroup: "g", Topic: "T", ExtraInfo: receipt(1), Offset: 1, InvisibleTime: 5000,
	}, nil)
	var changed header.ChangeInvisibleTimeResponse
	if err := changed.DecodeFields(r.Fields); err != nil || changed.InvisibleTime != 5000 || changed.PopTime < h.PopTime || changed.ReviveQid != h.ReviveQid {
		t.Errorf("%+v, %v", changed, err)
	}
	n.call(code.Success, code.BatchAckMessage, nil, []byte(fmt.Sprintf(
		`{"acks":[{"b":"BA==","c":"g","it":60000,"pt":%d,"q":0,"r":"0","rq":%d,"so":0,"t":"T"}],"brokerName":%q}`, h.PopTime, h.ReviveQid, n.live.Get().Name)))
	if off, _ := n.offsets.Query("g", "T", 0); off != 3 {
		t.Error("offset", off)
	}
	// A message in the retry topic comes under the name that was asked for, with its receipt.
	n.makeTopic("%RETRY%g_T")
	n.offsets.Commit("g", "%RETRY%g_T", 0, 0)
	put := n.store.PutWait(&record.Message{
		Topic: "%RETRY%g_T", Body: []byte(strings.Repeat("r", 5000)), ReconsumeTimes: 1, BornHost: n.proc.Address().Host, StoreHost: n.proc.Address().Host,
	})
	if put.Status != 0 {
		t.Fatal(put)
	}
	a = n.pop(code.Success, popHeader("g", "T"))
	if len(a.records) != 1 || a.records[0].Topic != "T" || len(a.records[0].Body) != 5000 || a.header.StartOffsetInfo != "1 0 0" {
		t.Fatalf("%+v, %d messages", a.header, len(a.records))
	}
	back, err := pop.ParseReceipt(record.Property(a.records[0].Properties, pop.PropReceipt))
	if err != nil || back.Kind != pop.KindRetryV1 || back.PopTime != a.header.PopTime {
		t.Errorf("%+v %v", back, err)
	}
}

func TestPopWithTags(t *testing.T) {
	n := startNode(t, t.TempDir(), "")
	n.makeTopic("T")
	for i, tag := range []string{"a", "b", "a", "c"} {
		h := sendHeader("T")
		h.Properties = "TAGS\x01" + tag + "\x02"
		n.call(code.Success, code.SendMessage, h, fmt.Append(nil, i))
	}
	h := popHeader("g", "T")
	h.Exp = "a || c"
	if a := n.pop(code.Success, h); len(a.records) != 3 || a.header.MsgOffsetInfo != "0 0 0,2,3" {
		t.Errorf("%+v", a.header)
	}
	h.ConsumerGroup, h.Exp = "g2", "none"
	n.pop(code.PollingTimeout, h)
	if off, _ := n.offsets.Query("g2", "T", 0); off != 4 {
		t.Error("a group does not move on over what it does not want", off)
	}
}

func TestPopRefusals(t *testing.T) {
	n := startNode(t, t.TempDir(), "autoCreateSubscriptionGroup=false\n")
	n.makeGroup("g")
	n.makeTopic("T")
	for name, c := range map[string]struct {
		want   int32
		remark string
		change func(*header.PopMessageRequest)
	}{
		"late":    {code.PollingTimeout, "pop message is timeout too much", func(h *header.PopMessageRequest) { h.BornTime -= 5000 }},
		"count":   {code.InvalidParameter, "pop message's num is greater than 32", func(h *header.PopMessageRequest) { h.MaxMsgNums = 33 }},
		"topic":   {code.TopicNotExist, "topic[U] not exist", func(h *header.PopMessageRequest) { h.Topic = "U" }},
		"queue":   {code.InvalidParameter, "queueId[4] is illegal, topic:[T] topicConfig.readQueueNums:[4]", func(h *header.PopMessageRequest) { h.QueueID = 4 }},
		"group":   {code.SubscriptionGroupNotExist, "subscription group [x] does not exist", func(h *header.PopMessageRequest) { h.ConsumerGroup = "x" }},
		"nothing": {code.PollingTimeout, "NO_MESSAGE_IN_QUEUE", func(*header.PopMessageRequest) {}},
	} {
		h := popHeader("g", "T")
		c.change(h)
		if r := n.call(c.want, code.PopMessage, h, nil); !strings.Contains(r.Remark, c.remark) {
			t.Errorf("%s: %q", name, r.Remark)
		}
	}
	n.call(code.NoMessage, code.BatchAckMessage, nil, nil)
	n.call(code.SystemError, code.BatchAckMessage, nil, []byte("{"))
	n.call(code.TopicNotExist, code.AckMessage, &header.AckMessageRequest{ConsumerGroup: "g", Topic: "U", ExtraInfo: "x"}, nil)
	n.call(code.MessageIllegal, code.AckMessage, &header.AckMessageRequest{ConsumerGroup: "g", Topic: "T", QueueID: 9, ExtraInfo: "x"}, nil)
	for _, bad := range []string{"x", "0 1 2 9 0 b", "0 1 2 -1 0 b"} {
		n.call(code.NoMessage, code.ChangeMessageInvisibleTime, &header.ChangeInvisibleTimeRequest{ConsumerGroup: "g", Topic: "T", ExtraInfo: bad}, nil)
	}
	n.send("T", "x")
	for _, bad := range []string{"x", "0 1 2 9 0 b", "0 1 2 -1 0 b"} {
		n.call(code.SystemError, code.AckMessage, &header.AckMessageRequest{ConsumerGroup: "g", Topic: "T", ExtraInfo: bad}, nil)
		n.call(code.SystemError, code.ChangeMessageInvisibleTime, &header.ChangeInvisibleTimeRequest{ConsumerGroup: "g", Topic: "T", ExtraInfo: bad}, nil)
	}
}

// Pops that compete for queues get each message once.
func TestPopsDoNotShareMessages(t *testing.T) {
	n := startNode(t, t.TempDir(), "enablePopBufferMerge=true\n")
	n.makeTopic("T")
	const total = 200
	for i := range total {
		n.send("T", fmt.Sprint(i))
	}
	got := make(chan string, total*2)
	failed := make(chan error, 4)
	for range 4 {
		go func() {
			failed <- func() error {
				for range 100 {
					h := popHeader("g", "T")
					h.MaxMsgNums = 3
					r, err := n.client.Call(t.Context(), n.addr, remoting.Outgoing{Code: code.PopMessage, Header: h})
					if err != nil {
						return err
					}
					for b := r.Body; len(b) > 0; {
						var m record.Message
						if err := record.Decode(b, &m); err != nil {
							return err
						}
						got <- string(m.Body)
						b = b[m.StoreSize:]
					}
				}
				return nil
			}()
		}()
	}
	for range 4 {
		if err := <-failed; err != nil {
			t.Fatal(err)
		}
	}
	close(got)
	seen := map[string]bool{}
	for s := range got {
		if seen[s] {
			t.Errorf("%s twice", s)
		}
		seen[s] = true
	}
	if len(seen) != total {
		t.Errorf("%d of %d messages", len(seen), total)
	}
}

// An ordered pop may wait for the disk while it has its queue. Acks of messages of that queue wait for it, and nothing else does.
func TestOrderedAcksHoldNothingUp(t *testing.T) {
	n := startNode(t, t.TempDir(), "")
	n.makeGroup("g")
	n.makeTopic("T")
	n.send("T", "text")
	receipt := pop.Receipt{PopTime: 1, Invisible: 60_000, ReviveQueue: pop.OrderQueue, Kind: pop.KindNormal, Broker: "b"}
	text := string(receipt.Append(nil))
	for name, out := range map[string]remoting.Outgoing{
		"ack":    {Code: code.AckMessage, Header: &header.AckMessageRequest{ConsumerGroup: "g", Topic: "T", ExtraInfo: text}},
		"change": {Code: code.ChangeMessageInvisibleTime, Header: &header.ChangeInvisibleTimeRequest{ConsumerGroup: "g", Topic: "T", ExtraInfo: text}},
		"batch": {Code: code.BatchAckMessage, Body: fmt.Appendf(nil,
			`{"acks":[{"b":"AQ==","c":"g","it":60000,"pt":1,"q":0,"r":"0","rq":%d,"so":0,"t":"T"}],"brokerName":"b"}`, pop.OrderQueue)},
	} {
		t.Run(name, func(t *testing.T) {
			q := n.Broker.pop.Lock(pop.Key{Topic: "T", Group: "g"})
			done := make(chan error, 1)
			go func() {
				_, err := n.client.Call(t.Context(), n.addr, out)
				done <- err
			}()
			for range 20 { // on the same connection, some of them behind it
				n.call(code.Success, code.GetMaxOffset, &header.GetMaxOffsetRequest{Topic: "T"}, nil)
			}
			q.Unlock()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
}
