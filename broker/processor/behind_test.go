package processor

import (
	"encoding/binary"
	"testing"
	"unsafe"

	"apogee/broker/config"
	"apogee/compat/body"
	"apogee/remoting/code"
	"apogee/remoting/header"
	"apogee/store"
)

// endOfLog is an Upkeep whose log ends somewhere.
type endOfLog struct {
	Upkeep
	end int64
}

func (e endOfLog) Stats() store.Stats { return store.Stats{MaxPhysical: e.end} }

func recordAt(physical int64, size int) []byte {
	b := make([]byte, size)
	binary.BigEndian.PutUint64(b[physicalAt:], uint64(physical))
	return b
}

func TestBehindCountsFromTheEndOfWhatWasRead(t *testing.T) {
	for name, c := range map[string]struct {
		res  store.GetResult
		want int64 // -1: nothing is noted
	}{
		"one region":      {store.GetResult{Status: store.Found, Regions: [][]byte{recordAt(100, 200)}}, 700},
		"the last counts": {store.GetResult{Status: store.Found, Regions: [][]byte{recordAt(100, 200), recordAt(600, 100)}}, 300},
		"at the end":      {store.GetResult{Status: store.Found, Regions: [][]byte{recordAt(900, 100)}}, 0},
		"waiting":         {store.GetResult{Status: store.OffsetOverflowOne}, 0},
		"nothing found":   {store.GetResult{Status: store.NoMatchedMessage}, -1},
		"no record":       {store.GetResult{Status: store.Found, Regions: [][]byte{make([]byte, 8)}}, -1},
	} {
		t.Run(name, func(t *testing.T) {
			var b behind
			b.note("G", "T", 3, &c.res, endOfLog{end: 1000})
			got, ok := b.at("G", "T", 3)
			if ok != (c.want >= 0) || ok && got != c.want {
				t.Errorf("behind %d %v, want %d", got, ok, c.want)
			}
		})
	}
}

func TestSlowGroupsAreDisabled(t *testing.T) {
	g := newRig(t, func(b *config.Broker) { b.DisableSlow, b.SlowBehind = true, 500 })
	for _, name := range []string{"slow", "quick", "deleted"} {
		g.addGroup(name, nil)
	}
	for group, at := range map[string]int64{"slow": 100, "quick": 900, "deleted": 100} {
		g.behind.note(group, "T", 0, &store.GetResult{Status: store.Found, Regions: [][]byte{recordAt(at, 50)}}, endOfLog{end: 1000})
	}
	if err := g.Groups.Delete("deleted"); err != nil {
		t.Fatal(err)
	}
	g.set(func(b *config.Broker) { b.DisableSlow = false })
	g.DisableSlow()
	if c, _ := g.Groups.Get("slow"); !c.ConsumeEnable {
		t.Error("disabled while the switch is off")
	}
	g.set(func(b *config.Broker) { b.DisableSlow = true })
	g.DisableSlow()
	for name, want := range map[string]bool{"slow": false, "quick": true} {
		if c, _ := g.Groups.Get(name); c.ConsumeEnable != want {
			t.Errorf("%s: enabled %v, want %v", name, c.ConsumeEnable, want)
		}
	}
	if len(g.behind.m) != 2 {
		t.Errorf("remembered: %v", g.behind.m)
	}
	// It stays with what an operator says, until the group reads too slowly again.
	g.addTopic("T", nil)
	a := g.call(code.PullMessage, header.Fields{
		{Key: "consumerGroup", Value: "slow"},
		{Key: "topic", Value: "T"},
		{Key: "queueId", Value: "0"},
		{Key: "queueOffset", Value: "0"},
		{Key: "maxMsgNums", Value: "1"},
		{Key: "sysFlag", Value: "4"},
		{Key: "commitOffset", Value: "0"},
		{Key: "suspendTimeoutMillis", Value: "0"},
		{Key: "subVersion", Value: "0"},
		{Key: "subscription", Value: "*"},
	}, "")
	if a.code != code.NoPermission || a.ext["forbiddenType"] != forbiddenGroup {
		t.Errorf("pull of a disabled group: %v", a)
	}
	g.addGroup("slow", func(c *body.SubscriptionGroupConfig) { c.ConsumeEnable = true })
	if c, _ := g.Groups.Get("slow"); !c.ConsumeEnable {
		t.Error("an operator cannot enable it")
	}
}

func (b *behind) at(group, topic string, queue int32) (int64, bool) {
	if n := b.m[behindKey{group, topic, queue}]; n != nil {
		return *n, true
	}
	return 0, false
}

// Names are kept, not the bytes of requests that they came in.
func TestBehindKeepsNames(t *testing.T) {
	var b behind
	for range 2 {
		name := []byte("G")
		b.note(unsafe.String(&name[0], 1), "T", 0, &store.GetResult{Status: store.Found, Regions: [][]byte{recordAt(0, 50)}}, endOfLog{end: 1000})
		name[0] = 'x' // the next request
		if _, ok := b.at("G", "T", 0); !ok || len(b.m) != 1 {
			t.Errorf("remembered: %v", b.m)
		}
	}
}
