package processor

import (
	"fmt"
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"apogee/compat/body"
	"apogee/compat/fastjson"
	"apogee/internal/testkit"
	"apogee/remoting"
	"apogee/remoting/code"
)

func word(prefix string) *rapid.Generator[string] {
	return rapid.Map(rapid.IntRange(0, 9), func(n int) string { return fmt.Sprint(prefix, n) })
}

// heartbeats are of all sizes, with and without what may be left out.
func heartbeats() *rapid.Generator[body.HeartbeatData] {
	subscription := rapid.Custom(func(t *rapid.T) body.SubscriptionData {
		return body.SubscriptionData{
			ClassFilterMode: rapid.Bool().Draw(t, "class filter"), Topic: word("topic").Draw(t, "topic"), SubString: word("tag é\n\"").Draw(t, "sub string"),
			TagsSet: rapid.SliceOfN(word("tag"), 0, 3).Draw(t, "tags"), CodeSet: rapid.SliceOfN(rapid.Int32(), 0, 3).Draw(t, "codes"),
			SubVersion: rapid.Int64Range(0, 3).Draw(t, "version"), ExpressionType: rapid.SampledFrom([]string{"", "TAG", "SQL92"}).Draw(t, "expression type"),
		}
	})
	consumer := rapid.Custom(func(t *rapid.T) body.ConsumerData {
		return body.ConsumerData{
			GroupName: word("group").Draw(t, "group"), ConsumeType: rapid.SampledFrom([]body.ConsumeType{"", body.ConsumePassively}).Draw(t, "type"),
			MessageModel:        rapid.SampledFrom([]body.MessageModel{body.Clustering, body.Broadcasting}).Draw(t, "model"),
			ConsumeFromWhere:    body.ConsumeFromLastOffset,
			SubscriptionDataSet: rapid.SliceOfN(subscription, 0, 4).Draw(t, "subscriptions"), UnitMode: rapid.Bool().Draw(t, "unit mode"),
		}
	})
	return rapid.Custom(func(t *rapid.T) body.HeartbeatData {
		var producers []body.ProducerData
		for _, g := range rapid.SliceOfN(word("pg"), 0, 4).Draw(t, "producers") {
			producers = append(producers, body.ProducerData{GroupName: g})
		}
		return body.HeartbeatData{
			ClientID: word("client").Draw(t, "client"), ProducerDataSet: producers, ConsumerDataSet: rapid.SliceOfN(consumer, 0, 4).Draw(t, "consumers"),
			HeartbeatFingerprint: rapid.Int32Range(0, 2).Draw(t, "fingerprint"), WithoutSub: rapid.Bool().Draw(t, "without sub"),
		}
	})
}

// A heartbeat that is read into what the ones before it left says what it says when it is read into something new.
func TestHeartbeatsLeaveNothingToTheNext(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		op := new(beatOp)
		for _, hb := range rapid.SliceOfN(heartbeats(), 1, 6).Draw(t, "heartbeats") {
			text := fastjson.Marshal(&hb)
			switch rapid.IntRange(0, 5).Draw(t, "how") {
			case 0: // as fastjson 1.2 would: members that are not there
				text = []byte(`{"clientID":"c","consumerDataSet":[{"groupName":"g","subscriptionDataSet":[{"topic":"t"}]},{}],"producerDataSet":[{}]}`)
			case 1: // the slow way
				text = []byte(`{"clientID":7,"consumerDataSet":[{"groupName":"g","consumeType":1,"subscriptionDataSet":null}],"producerDataSet":null}`)
			}
			var want body.HeartbeatData
			if err := fastjson.Unmarshal(text, &want); err != nil {
				t.Fatal(err)
			}
			if err := fastjson.View(text, op.reset()); err != nil {
				t.Fatal(err)
			}
			if got, want := string(fastjson.Marshal(&op.data)), string(fastjson.Marshal(&want)); got != want {
				t.Fatalf("read as %s, want %s", got, want)
			}
		}
	})
}

// The memory of a request is used again as soon as its handler returns.
func TestHeartbeatsKeepNothingOfTheirRequest(t *testing.T) {
	g := newRig(t)
	for range 2 {
		for _, text := range beats() {
			frame := append([]byte(nil), text...)
			var got *remoting.Reply
			g.heartbeat(remoting.NewRequest(remoting.Request{Code: code.HeartBeat, Version: 513, Body: frame}, func(r *remoting.Reply) { c := *r; got = &c }))
			if got == nil || got.Code != code.Success || !reflect.DeepEqual(got.Extra, heartbeatV1) {
				t.Fatalf("answer %+v", got)
			}
			for i := range frame {
				frame[i] = '#'
			}
		}
	}
	const id = "192.168.1.17@54321#90817263544"
	for _, name := range []string{"order-service", "CLIENT_INNER_PRODUCER"} {
		if m := g.Producers.Members(name); len(m) != 1 || m[0].ClientID != id || m[0].Version != 513 {
			t.Errorf("producers of %s: %+v", name, m)
		}
	}
	v := g.Consumers.Group("cg")
	if v == nil || v.Name != "cg" || v.ConsumeType != body.ConsumePassively || v.Model != body.Clustering || len(v.Subscriptions) != 2 {
		t.Fatalf("group %+v", v)
	}
	if s := v.Subscriptions["BenchTopic"]; s == nil || s.Topic != "BenchTopic" || s.SubString != "*" || s.ExpressionType != body.ExpressionTag {
		t.Errorf("subscription %+v", s)
	}
	if m := g.Consumers.Members("cg"); len(m) != 1 || m[0].ClientID != id {
		t.Errorf("consumers %+v", m)
	}
	if c, ok := g.Groups.Get("cg"); !ok || c.GroupName != "cg" {
		t.Errorf("group %+v", c)
	}
	if c, ok := g.Topics.Get("%RETRY%cg"); !ok || c.TopicName != "%RETRY%cg" {
		t.Errorf("retry topic %+v", c)
	}
}

// Of 20,000 idle clients 667 a second send a heartbeat, and a collection may be two minutes away: all of it counts as memory.
func TestTheSameHeartbeatLeavesNothingBehind(t *testing.T) {
	testkit.CountsAllocations(t)
	for name, text := range beats() {
		g := newRig(t)
		g.addGroup("cg", nil)
		r := remoting.NewRequest(remoting.Request{Code: code.HeartBeat, Version: 513, Body: text}, func(*remoting.Reply) {})
		// One is the decoder, one the reply as the test's replier gets it.
		if n := testing.AllocsPerRun(100, func() { g.heartbeat(r) }); n > 2 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
