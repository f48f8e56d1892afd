package conformance

import (
	"fmt"
	"strings"
	"time"

	"apogee/remoting/code"
)

// popWhileActing pops at a slave that acts for its master. What is to be noted of it goes to another broker: what is acknowledged does not
// come again, what is not comes again there.
func popWhileActing(t *T) {
	p, other := t.actingPair(t.duos()[0])
	m, s, o := t.dial(p.master.Addr()), t.dial(p.slave.Addr()), t.dial(other.Addr())
	topic, group := t.Name("PopActing"), t.Name("G")
	for _, r := range []*raw{m, o} {
		r.topic(topic, topicConf{read: 1, write: 1})
		r.group(group, "")
	}
	for i := range 4 {
		m.await1(topic, fmt.Sprint("m", i))
	}
	p.replicated(60 * time.Second)
	t.Until(100*time.Second, "topic and group at the slave", func() (bool, string) {
		tables := string(s.call(code.GetAllTopicConfig, nil, nil).Body) + string(s.call(code.GetAllSubscriptionGroupConfig, nil, nil).Body)
		return strings.Contains(tables, `"`+topic+`"`) && strings.Contains(tables, `"`+group+`"`), "not there"
	})
	t.Must(p.master.Kill(), "kill the master")
	t.Until(30*time.Second, "slave acts", func() (bool, string) { got := runtimeOf(s, "brokerActive"); return got == "true", got })
	got := s.popAll(group, topic, 4, 30*time.Second)
	Equal(t, "popped at the slave", popTexts(got), "m0 m1 m2 m3")
	for _, msg := range got {
		if msg.text == "m1" || msg.text == "m2" {
			s.ok(code.AckMessage, ackExt(group, &msg, p.name), nil)
		}
	}
	Equal(t, "popped once more", len(s.pop(group, topic)), 0)
	again := o.popAll(group, topic, 2, 90*time.Second)
	Equal(t, "what was not acknowledged, at the other broker", popTexts(again), "m0 m3")
	if t.Target.Name() != "apogee" {
		return // its master's return is seen where the slave acts without pops
	}
	// The master goes on where the slave has got to.
	t.Must(p.master.Restart(nil), "start the master again")
	p.members(90*time.Second, map[string]string{"0": p.master.Addr(), "1": p.slave.Addr()})
	m = t.dial(p.master.Addr())
	m.await1(topic, "m4")
	Equal(t, "popped at the master that is back", popTexts(m.popAll(group, topic, 1, 30*time.Second)), "m4")
}
