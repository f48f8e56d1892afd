package processor

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"apogee/broker/meta"
	"apogee/remoting"
	"apogee/remoting/code"
	"apogee/store/vfs"
)

// onDisk gives the rig another table of topics, whose files are looked at by check.
func (g *rig) onDisk(check func(op vfs.Op, name string) error) {
	g.Topics = meta.NewTopics(meta.TopicOptions{
		FS: vfs.Faulty(vfs.NewMem(time.Now), check), Dir: "/store", Now: time.Now, Log: slog.New(slog.DiscardHandler),
		System: meta.SystemTopics(meta.SystemConfig{AutoCreate: true, DefaultQueues: 8}), AutoCreate: func() bool { return true },
	})
}

// TestFirstSendsWaitForTheTopic: while the first send of a topic writes the file of topics, no other is acknowledged.
func TestFirstSendsWaitForTheTopic(t *testing.T) {
	g := newRig(t)
	send := remoting.Request{Code: code.SendMessage, Version: 513, Fields: sendFields("tNew", ""), Body: []byte("x")}
	var second <-chan answered
	g.onDisk(func(op vfs.Op, name string) error {
		if op != vfs.OpSync || !strings.Contains(name, "topics.json") {
			return nil
		}
		if _, ok := g.Topics.Get("tNew"); !ok {
			t.Error("others cannot see the topic")
		}
		second = g.start(send) // what is not put off to a lane is answered by now
		select {
		case a := <-second:
			t.Errorf("a message is acknowledged whose topic is not on disk: %v", a)
		default:
		}
		return nil
	})
	first := g.wait(g.start(send))
	for _, a := range []answered{first, g.wait(second), g.wait(g.start(send))} {
		if a.code != code.Success {
			t.Errorf("answer %v", a)
		}
	}
	if _, topic, _ := g.Topics.Lookup("tNew"); topic.New() || topic.Plain() == 0 {
		t.Error("later sends have to look at more than the topic")
	}
}

// TestTopicThatCannotBeWritten: its messages are refused until it can be.
func TestTopicThatCannotBeWritten(t *testing.T) {
	g := newRig(t)
	full := true
	g.onDisk(func(op vfs.Op, _ string) error {
		if full && op == vfs.OpCreate {
			return vfs.ErrNoSpace
		}
		return nil
	})
	for range 2 {
		a := g.call(code.SendMessage, sendFields("tNew", ""), "x")
		if a.code != code.SystemError || !strings.HasPrefix(a.remark, "topic[tNew] is not on disk: ") || !strings.Contains(a.remark, "no space left") {
			t.Errorf("answer %v", a)
		}
	}
	full = false
	if a := g.call(code.SendMessage, sendFields("tNew", ""), "x"); a.code != code.Success || a.ext["queueOffset"] != "0" {
		t.Errorf("answer %v", a)
	}
}
