package processor

import (
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"apogee/broker/lite"
	"apogee/broker/pop"
	"apogee/compat/body"
	"apogee/remoting/header"
	"apogee/store"
	"apogee/store/record"
)

// lateReader has something happen behind the first read that finds nothing.
type lateReader struct {
	Reader
	late func()
}

func (r *lateReader) Get(req *store.GetRequest, res *store.GetResult) {
	r.Reader.Get(req, res)
	if late := r.late; late != nil && res.Status != store.Found {
		r.late = nil
		late()
	}
}

// liteRig has a client c of group G that subscribes to the lite topic l of P.
func liteRig(t *testing.T) (g *rig, queue string, pops *litePop) {
	g, queue = newRig(t), lite.Queue("P", "l")
	g.addGroup("G", nil)
	g.LiteOrders = pop.NoOrders{}
	g.Lite = lite.New(lite.Options{
		Now: time.Now, Log: slog.New(slog.DiscardHandler), Group: g.Groups.Get, Offsets: g.Offsets, Orders: g.LiteOrders,
		Settings:  func() lite.Settings { return lite.Settings{Quota: 10, Events: 10} },
		MaxOffset: func(queue string) int64 { return g.store.MaxOffset(queue, 0) }, Queues: func() []string { return nil },
		Here: func(string) func(string) bool { return func(string) bool { return true } }, Wake: func(string) {},
	})
	err := g.Lite.Apply(&body.LiteSubscription{Action: body.LitePartialAdd, ClientID: "c", Group: "G", Topic: "P", LiteTopicSet: []string{"l"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	pops = &litePop{p: g.Processor, hdr: header.PopLiteMessageRequest{ClientID: "c", ConsumerGroup: "G", Topic: "P", MaxMsgNum: 8, InvisibleTime: 1000}}
	return g, queue, pops
}

func (g *rig) putLite(queue string) {
	host := netip.MustParseAddrPort("127.0.0.1:1")
	g.store.Put(&record.Message{Topic: queue, Body: []byte("x"), BornHost: host, StoreHost: host}, nil)
	g.Lite.Arrive([]store.Arrival{{Topic: queue, Next: g.store.MaxOffset(queue, 0)}})
}

// TestLitePopForgetsNoEvent has a message come to a lite topic right after a pop has found nothing in it.
func TestLitePopForgetsNoEvent(t *testing.T) {
	g, queue, op := liteRig(t)
	g.putLite(queue)
	g.Offsets.Commit("G", queue, 0, 1) // consumed; its event is still there
	g.Reader = &lateReader{Reader: g.store, late: func() { g.putLite(queue) }}
	op.collect(0)
	if len(op.got) == 0 && !g.Lite.Ready("c") {
		t.Error("nobody knows of the message")
	}
}

// TestLitePopOfNothing: a pop that asks for no messages is not held up by those that there are.
func TestLitePopOfNothing(t *testing.T) {
	g, queue, op := liteRig(t)
	op.hdr.MaxMsgNum = 0
	g.putLite(queue)
	op.collect(0)
	if !g.Lite.Ready("c") || op.Ready() {
		t.Errorf("the client has events: %v; a pop of nothing goes round again: %v", g.Lite.Ready("c"), op.Ready())
	}
}
