package conformance

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"apogee/conformance/wire"
	"apogee/internal/testkit"
	"apogee/remoting/code"
)

// goOnElsewhere has each implementation go on with what the other one has left: messages that were popped and not acknowledged, timers
// that run, one that was recalled, and delayed messages.
func goOnElsewhere(t *T) {
	target := t.needTarget()
	other, err := counterpart(target)
	if err != nil {
		t.Skipf("nothing went from one implementation to the other: %v; run it where both are", err)
	}
	e := &elsewhere{
		T: t, dir: filepath.Join(t.tempDir(), "popped-and-timed"), popped: t.Name("Popped"), timed: t.Name("Timed"), group: t.Name("G"),
		conf: baseConf("both-b").With(testkit.Props{"recallMessageEnable": "true", "popFromRetryProbability": "50"}),
	}
	for i, impl := range []testkit.Target{target, other, target} {
		e.round(i, impl)
	}
}

type elsewhere struct {
	*T
	dir, popped, timed, group string
	conf                      testkit.Props
	left                      []string // popped and not acknowledged
	due                       []string // all that the timed topic is to get
}

func (e *elsewhere) round(i int, impl testkit.Target) {
	s, err := impl.Broker(e.dir, "127.0.0.1:1", e.conf)
	e.Must(err, "start %s on the directory", impl.Name())
	stopped := false
	e.Cleanup(func() {
		if !stopped {
			_ = s.Stop()
		}
	})
	e.conf["listenPort"] = strings.TrimPrefix(s.Addr(), "127.0.0.1:")
	b := e.dial(s.Addr())
	if i == 0 {
		b.topic(e.popped, topicConf{})
		b.topic(e.timed, topicConf{})
		b.group(e.group, "")
	} else {
		e.goOn(b, impl)
	}
	e.leave(b, fmt.Sprint(i, impl.Name()[:1]))
	b.Close()
	e.Must(s.Stop(), "stop %s", impl.Name())
	stopped = true
}

// goOn expects what the round before has left, and nothing else.
func (e *elsewhere) goOn(b *raw, impl testkit.Target) {
	back := b.popAll(e.group, e.popped, len(e.left), 90*time.Second)
	Equal(e.T, impl.Name()+": messages that were not acknowledged", popTexts(back), strings.Join(e.left, " "))
	for _, m := range back {
		Equal(e.T, m.text+": times that it was consumed", m.ReconsumeTimes, 1)
	}
	b.ack(e.group, "both-b", back...)
	var got []string
	for _, rec := range b.await(e.timed, 0, len(e.due), 90*time.Second) {
		got = append(got, string(rec.Body))
	}
	slices.Sort(got)
	slices.Sort(e.due)
	Equal(e.T, impl.Name()+": messages whose time has come", strings.Join(got, " "), strings.Join(e.due, " "))
	Equal(e.T, impl.Name()+": more to pop", popTexts(b.pop(e.group, e.popped)), "")
}

// leave pops messages of which half are acknowledged, and sends timers. All of it is due only when the next one has started: the reference
// delivers at once what became due while it was down, be it recalled or acknowledged.
func (e *elsewhere) leave(b *raw, tag string) {
	b.sendTexts(e.popped, 1, "a"+tag, "b"+tag, "c"+tag, "d"+tag)
	popped := b.popAll(e.group, e.popped, 4, 20*time.Second, "invisibleTime", 30000)
	Equal(e.T, "messages popped", popTexts(popped), fmt.Sprintf("a%[1]s b%[1]s c%[1]s d%[1]s", tag))
	e.left = nil
	for _, m := range popped {
		if m.text[0] < 'c' {
			b.ack(e.group, "both-b", m)
		} else {
			e.left = append(e.left, m.text)
		}
	}
	slices.Sort(e.left)
	for name, props := range map[string][]string{
		"ms": {"TIMER_DELAY_MS", "29500"}, "sec": {"TIMER_DELAY_SEC", "34"}, "level": {"DELAY", "4"}, "recalled": {"TIMER_DELAY_SEC", "32"},
	} {
		name += tag
		f := b.send(message{topic: e.timed, body: []byte(name), properties: wire.Properties(append(props, "UNIQ_KEY", "u"+name)...)})
		if !strings.HasPrefix(name, "recalled") {
			e.due = append(e.due, name)
			continue
		}
		b.ok(code.RecallMessage, wire.Ext("producerGroup", "PG", "topic", e.timed, "recallHandle", f.Ext["recallHandle"]), nil)
	}
}
