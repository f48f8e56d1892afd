package client

import (
	"reflect"
	"testing"
	"time"

	"apogee/compat/body"
)

// What requests say counts where no consumer says otherwise, for as long as they come.
func TestSubscriptionsOfRequests(t *testing.T) {
	c := newClock()
	s, _ := table(c)
	retry := func() string { return "%RETRY%G_T" }
	s.Note("G", "T", "", " a || b||a", retry)
	s.Note("G", "S", body.ExpressionSQL92, "x > 1", nil)
	ms := c.now().UnixMilli()
	for topic, want := range map[string]*body.SubscriptionData{
		"T":          {Topic: "T", SubString: " a || b||a", TagsSet: []string{"a", "b"}, CodeSet: []int32{97, 98}, SubVersion: ms, ExpressionType: "TAG"},
		"%RETRY%G_T": {Topic: "%RETRY%G_T", SubString: "*", SubVersion: ms, ExpressionType: "TAG"},
		"S":          {Topic: "S", SubString: "x > 1", SubVersion: ms, ExpressionType: "SQL92"},
		"U":          nil,
	} {
		if got := s.Subscription("G", topic); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, want %+v", topic, got, want)
		}
	}
	s.Register(&fakeChannel{name: "a"}, identity("a"), registration("G", sub("T", 5)))
	if got := s.Subscription("G", "T"); got == nil || got.SubVersion != 5 {
		t.Errorf("a consumer says: %+v", got)
	}
	c.advance(time.Minute)
	s.Note("G", "T", "", " a || b||a", retry)
	c.advance(time.Minute)
	s.ExpireNoted(90 * time.Second)
	if s.Subscription("G", "S") != nil || s.Subscription("G", "%RETRY%G_T") == nil {
		t.Error("what is said no more stays, or what is said goes")
	}
	if n := testing.AllocsPerRun(100, func() { s.Note("G", "T", "", " a || b||a", retry) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// slowFilters lets something happen before a group's filters are forgotten.
type slowFilters struct {
	alive  map[string]bool
	before func()
}

func (f *slowFilters) Register(_ string, subs []body.SubscriptionData) {
	for i := range subs {
		f.alive[subs[i].Topic] = true
	}
}

func (f *slowFilters) Unregister(string) {
	f.before()
	clear(f.alive)
}

// A consumer that comes while the last one of its group leaves keeps its filter, although its next heartbeats leave it out.
func TestFiltersOfThoseWhoCome(t *testing.T) {
	f := &slowFilters{alive: map[string]bool{}}
	c := NewConsumers(newClock().now, func(string) {}, f)
	a, b := &fakeChannel{name: "a"}, &fakeChannel{name: "b"}
	c.Register(a, identity("a"), registration("G", sub("T", 1)))
	f.before = func() {
		c.Register(b, identity("b"), registration("G", sub("T", 2), sub("U", 2)))
		f.Register("G", []body.SubscriptionData{sub("T", 2), sub("U", 2)})
	}
	c.ChannelClosed(a)
	if !f.alive["T"] || !f.alive["U"] {
		t.Errorf("alive: %v", f.alive)
	}
	f.before = func() {}
	c.Unregister("G", b, true)
	if len(f.alive) != 0 {
		t.Errorf("alive without consumers: %v", f.alive)
	}
}
