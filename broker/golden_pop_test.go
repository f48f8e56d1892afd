package broker

import (
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"apogee/broker/pop"
	"apogee/internal/testkit"
	"apogee/store"
	"apogee/store/record"
)

// messages reads a whole queue.
func (n *node) messages(topic string, queue int32, from int64) (out []record.Message) {
	n.t.Helper()
	var res store.GetResult
	for off := from; ; off = res.Next {
		n.store.Get(&store.GetRequest{Topic: topic, QueueID: queue, Offset: off, MaxCount: 1}, &res)
		if res.Status != store.Found {
			return out
		}
		var m record.Message
		if err := record.Decode(slices.Clone(res.Regions[0]), &m); err != nil {
			n.t.Fatal(err)
		}
		out = append(out, m)
		res.Release()
	}
}

// Messages that Java had handed out and nobody acknowledged come back from Apogee, when their time is over; acknowledged ones do not.
func TestGoldenPop(t *testing.T) {
	for _, name := range []string{"clean", "crash"} {
		t.Run(name, func(t *testing.T) {
			var m struct{ ReadAt int64 }
			dir := testkit.Golden(t, name, &m)
			conf, err := testkit.GoldenConf(dir)
			if err != nil {
				t.Fatal(err)
			}
			store := filepath.Join(dir, "store")
			began := time.Now()
			made := func() time.Time { return time.UnixMilli(m.ReadAt).Add(time.Since(began)) }
			now := startNodeAt(t, store, goldenSettings+conf.Text(), made)
			want, before := now.openReceipts(pop.ReviveTopic(now.live.Get().ClusterName)), map[string]int64{}
			if len(want) == 0 {
				t.Fatal("the directory has no open receipts")
			}
			for topic := range want {
				before[topic] = now.store.MaxOffset(topic, 0)
			}
			now.stop()
			n := startNodeAt(t, store, goldenSettings+conf.Text(), func() time.Time { return made().Add(48 * time.Hour) })
			for topic, texts := range want {
				var got []string
				eventually(t, "messages in "+topic, func() bool {
					got = got[:0]
					for _, m := range n.messages(topic, 0, before[topic]) {
						got = append(got, string(m.Body))
					}
					slices.Sort(got)
					return len(got) >= len(texts)
				})
				if slices.Sort(texts); !slices.Equal(got, texts) {
					t.Errorf("%s: came back %q, want %q", topic, got, texts)
				}
			}
		})
	}
}

// openReceipts is what is invisible and not acknowledged, by the retry topic that it comes back in. What waits in the timer topic says it.
// Every check point and ack on the way is also written again: the bytes have to be Java's.
func (n *node) openReceipts(revive string) map[string][]string {
	n.t.Helper()
	type open struct {
		ck    *pop.CheckPoint
		acked map[int64]bool
	}
	var all []*open
	find := func(topic, group string, queue int32, start, popTime int64) *open {
		for _, o := range all {
			if o.ck.Topic == topic && o.ck.Group == group && o.ck.Queue == queue && o.ck.StartOffset == start && o.ck.PopTime == popTime {
				return o
			}
		}
		return nil
	}
	records := n.messages("rmq_sys_wheel_timer", 0, 0)
	for q := range int32(n.live.Get().ReviveQueues) {
		done, ok := n.offsets.Query(pop.ReviveGroup, revive, q)
		if !ok {
			done = -1
		}
		for _, m := range n.messages(revive, q, 0) {
			n.sameBody(&m)
			if m.QueueOffset > done {
				records = append(records, m)
			}
		}
	}
	now := n.env.Now().UnixMilli()
	for pass := range 2 {
		for i := range records {
			m := &records[i]
			timed := m.Topic == "rmq_sys_wheel_timer"
			out, _ := strconv.ParseInt(record.Property(m.Properties, "TIMER_OUT_MS"), 10, 64)
			if timed && (record.Property(m.Properties, "REAL_TOPIC") != revive || out < now) {
				continue
			}
			n.sameBody(m)
			tag := record.Property(m.Properties, "TAGS")
			if pass == 0 && tag == pop.TagCheckPoint {
				ck, err := pop.ParseCheckPoint(m.Body)
				if err != nil {
					n.t.Fatal(err)
				}
				all = append(all, &open{ck, map[int64]bool{}})
			}
			if pass == 1 && tag != pop.TagCheckPoint {
				a, err := pop.ParseAck(m.Body)
				if err != nil {
					n.t.Fatal(err)
				}
				if o := find(a.Topic, a.Group, a.Queue, a.StartOffset, a.PopTime); o != nil {
					for _, off := range append(a.Offsets, a.Offset) {
						o.acked[off] = true
					}
				}
			}
		}
	}
	want := map[string][]string{}
	for _, o := range all {
		for i := range int(o.ck.Num) {
			off := o.ck.Offset(i)
			if o.acked[off] {
				continue
			}
			topic := o.ck.Topic
			if !strings.HasPrefix(topic, "%RETRY%") {
				topic = pop.RetryTopicV1(topic, o.ck.Group)
			}
			want[topic] = append(want[topic], string(n.messages(o.ck.Topic, o.ck.Queue, off)[0].Body))
		}
	}
	return want
}

func (n *node) sameBody(m *record.Message) {
	n.t.Helper()
	var again []byte
	if tag := record.Property(m.Properties, "TAGS"); tag == pop.TagCheckPoint {
		ck, err := pop.ParseCheckPoint(m.Body)
		if err != nil {
			n.t.Fatal(err)
		}
		again = ck.Append(nil)
		if uniq := record.Property(m.Properties, "UNIQ_KEY"); uniq != string(ck.AppendUnique(nil)) {
			n.t.Errorf("unique key %s", uniq)
		}
	} else {
		a, err := pop.ParseAck(m.Body)
		if err != nil {
			n.t.Fatal(err)
		}
		again = a.Append(nil)
		if uniq := record.Property(m.Properties, "UNIQ_KEY"); uniq != string(a.AppendUnique(nil)) {
			n.t.Errorf("unique key %s", uniq)
		}
	}
	if string(again) != string(m.Body) {
		n.t.Errorf("Java wrote %s\nwe write  %s", m.Body, again)
	}
}
