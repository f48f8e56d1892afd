package conformance

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"apogee/conformance/wire"
	"apogee/internal/testkit"
	"apogee/remoting/code"
)

var slaveCases = []Case{
	{Area: "consumption", Feature: "Read from slave suggestion", Own: true, Run: readFromSlave, Limit: 3 * time.Minute},
	{Area: "consumption", Feature: "Pull from slave when master down", Own: true, Run: masterDown, Limit: 4 * time.Minute},
	{Area: "HA", Feature: "Slave metadata sync", Own: true, Run: slaveMetadata, Limit: 8 * time.Minute},
	{Area: "HA", Feature: "Slave acting master", Own: true, Run: func(t *T) { slaveActs(t); popWhileActing(t) }, Limit: 15 * time.Minute},
	{Area: "HA", Feature: "Remote escape", Own: true, Run: remoteEscape, Limit: 5 * time.Minute},
}

// duo is a master, a slave of the same name, and the name server that both know.
type duo struct {
	*T
	ns            testkit.Server
	name          string
	master, slave testkit.Server
}

// duos are the implementations of master and slave: the target's own, and where the other one is at hand, one of each.
func (t *T) duos() [][2]testkit.Target {
	own := t.needTarget()
	out := [][2]testkit.Target{{own, own}}
	if other, err := counterpart(own); err == nil && own.Name() == "apogee" {
		out = append(out, [2]testkit.Target{own, other}, [2]testkit.Target{other, own})
	}
	return out
}

// duo starts both, and waits until the name server knows both.
func (t *T) duo(of [2]testkit.Target, ns testkit.Server, conf testkit.Props) *duo {
	p := &duo{T: t, ns: ns, name: strings.ReplaceAll(t.Name("pair"), "_", "-")}
	conf = baseConf(p.name).With(testkit.Props{"slaveReadEnable": "true", "haSendHeartbeatInterval": "500"}).With(conf)
	dir := filepath.Join(t.tempDir(), p.name)
	var err error
	p.master, err = of[0].Broker(filepath.Join(dir, "master"), ns.Addr(), conf)
	t.Must(err, "start a master of %s", of[0].Name())
	t.Cleanup(func() { _ = p.master.Stop() })
	p.slave, err = of[1].Broker(filepath.Join(dir, "slave"), ns.Addr(), conf.With(testkit.Props{"brokerRole": "SLAVE", "brokerId": "1"}))
	t.Must(err, "start a slave of %s", of[1].Name())
	t.Cleanup(func() { _ = p.slave.Stop() })
	p.members(60*time.Second, map[string]string{"0": p.master.Addr(), "1": p.slave.Addr()})
	return p
}

// members waits until the name server knows these brokers of the name, by id, and no others.
func (p *duo) members(limit time.Duration, want map[string]string) {
	n := p.dial(p.ns.Addr())
	p.Until(limit, fmt.Sprintf("brokers %v at the name server", want), func() (bool, string) {
		v, err := wire.Loose(n.call(code.GetBrokerClusterInfo, nil, nil).Body)
		if err != nil {
			return false, err.Error()
		}
		got, _ := wire.At(v, "brokerAddrTable", p.name, "brokerAddrs").(map[string]any)
		same := len(got) == len(want)
		for id, addr := range want {
			same = same && got[id] == addr
		}
		return same, fmt.Sprint(got)
	})
}

// runtimeOf is one value of the runtime info. Java refuses that as long as it has no sample of its statistics yet, which is empty here.
func runtimeOf(r *raw, key string) string {
	f := r.call(code.GetBrokerRuntimeInfo, nil, nil)
	if f.Code != int(code.Success) && strings.Contains(f.Remark, "NoSuchElementException") {
		return ""
	}
	v, err := wire.Loose(f.Body)
	r.t.Must(err, "runtime info: %v", f)
	return fmt.Sprint(wire.At(v, "table", key))
}

// replicated waits until the slave's log is as long as the master's.
func (p *duo) replicated(limit time.Duration) {
	m, s := p.dial(p.master.Addr()), p.dial(p.slave.Addr())
	end := func(r *raw) string {
		return runtimeOf(r, "commitLogMaxOffset")
	}
	p.Until(limit, "slave has the master's log", func() (bool, string) {
		a, b := end(m), end(s)
		return a == b && a != "", fmt.Sprintf("master's %s, slave's %s", a, b)
	})
}

func readFromSlave(t *T) {
	// No memory at all: everything is far behind, which takes a slave, or a very large log.
	p := t.duo(t.duos()[0], t.ownNamesrv(nil), testkit.Props{"accessMessageInMemoryMaxRatio": "0"})
	m := t.dial(p.master.Addr())
	topic, group := t.Name("Cold"), t.Name("G")
	m.topic(topic, topicConf{})
	m.group(group, "")
	for i := range 3 {
		m.send(message{topic: topic, body: []byte(fmt.Sprint("m", i))})
	}
	p.replicated(60 * time.Second)
	ask := func(r *raw) (which int64) {
		t.Until(20*time.Second, "messages", func() (bool, string) {
			f := r.call(code.PullMessage, pullExt(group, topic, 0, 0), nil)
			which = f.Int("suggestWhichBrokerId")
			return f.Code == int(code.Success), f.String()
		})
		return which
	}
	Equal(t, "broker that the master suggests", ask(m), 1)
	s := t.dial(p.slave.Addr())
	t.Until(100*time.Second, "topic and group at the slave", func() (bool, string) {
		f := s.call(code.PullMessage, pullExt(group, topic, 0, 0), nil)
		return f.Code == int(code.Success), f.String()
	})
	Equal(t, "broker that the slave suggests", ask(s), 1)
	// What a slave cannot tell for sure moves nobody.
	f := s.want(code.PullRetryImmediately, code.PullMessage, pullExt(group, topic, 0, 99), nil)
	Equal(t, "offset that the slave leaves as it is", f.Int("nextBeginOffset"), 99)
	Equal(t, "broker that may know better", f.Int("suggestWhichBrokerId"), 0)
	// A slave takes no messages.
	f = s.want(code.SystemBusy, code.SendMessageV2, message{topic: topic}.short(), []byte("x"))
	Equal(t, "remark", strings.HasPrefix(f.Remark, "[REJECTREQUEST]"), true)
}

func masterDown(t *T) {
	for _, of := range t.duos()[:1] {
		p := t.duo(of, t.ownNamesrv(nil), nil)
		m, s := t.dial(p.master.Addr()), t.dial(p.slave.Addr())
		topic, group := t.Name("Down"), t.Name("G")
		m.topic(topic, topicConf{read: 2})
		m.group(group, "")
		var want []string
		for i := range 20 {
			body := fmt.Sprint("m", i)
			m.send(message{topic: topic, queue: i % 2, body: []byte(body)})
			if i >= 10 {
				want = append(want, body)
			}
		}
		// Half of it is consumed while the master is there.
		for q := range 2 {
			m.ok(code.UpdateConsumerOffset, wire.Ext("consumerGroup", group, "topic", topic, "queueId", q, "commitOffset", 5), nil)
		}
		p.replicated(60 * time.Second)
		t.Until(100*time.Second, "offsets at the slave", func() (bool, string) {
			f := s.call(code.QueryConsumerOffset, wire.Ext("consumerGroup", group, "topic", topic, "queueId", 1), nil)
			return f.Code == 0 && f.Int("offset") == 5, f.String()
		})
		t.Must(p.master.Kill(), "kill the master")
		p.members(30*time.Second, map[string]string{"1": p.slave.Addr()})
		// The official Go client asks for offsets at masters only.
		got := t.javaProgram("Down", p.ns.Addr(), group, topic, fmt.Sprint(len(want)))
		for _, body := range want {
			Equal(t, "times that "+body+" came", strings.Count(got, "got "+body+"\n"), 1)
		}
		Equal(t, "messages that came", strings.Count(got, "got "), len(want))
		t.Until(30*time.Second, "progress at the slave", func() (bool, string) {
			f := s.call(code.QueryConsumerOffset, wire.Ext("consumerGroup", group, "topic", topic, "queueId", 1), nil)
			return f.Code == 0 && f.Int("offset") == 10, f.String()
		})
	}
}

func slaveMetadata(t *T) {
	atOnce(t, t.duos(), func(of [2]testkit.Target) {
		p := t.duo(of, t.ownNamesrv(nil), nil)
		m, s := t.dial(p.master.Addr()), t.dial(p.slave.Addr())
		topic, gone, group := t.Name("Meta"), t.Name("Gone"), t.Name("G")
		m.topic(topic, topicConf{read: 3, write: 5, attributes: "+message.type=NORMAL"})
		m.topic(gone, topicConf{})
		m.group(group, `,"retryMaxTimes":7`)
		m.ok(code.UpdateConsumerOffset, wire.Ext("consumerGroup", group, "topic", topic, "queueId", 2, "commitOffset", 42), nil)
		m.setMode(topic, group, "POP", 3)
		m.send(message{topic: topic, body: []byte("delayed"), properties: wire.Properties("DELAY", "1")})
		m.send(message{topic: topic, body: []byte("timed"), properties: wire.Properties("TIMER_DELAY_SEC", "2", "UNIQ_KEY", "u")})
		// Without a pull: Java's slaves cannot read the offsets of pulls that Java's masters send them, and get no offset at all then.
		t.Until(20*time.Second, "messages delivered", func() (bool, string) {
			n := m.ok(code.GetMaxOffset, wire.Ext("topic", topic, "queueId", 0), nil).Int("offset")
			return n == 2, fmt.Sprint(n)
		})
		if of[0].Name() == "apogee" {
			m.call(code.PullMessage, pullExt(group, topic, 1, 0), nil)
		}
		who := fmt.Sprintf("%s slave of %s", of[1].Name(), of[0].Name())
		p.isThere(who, s, topic, group)
		// The same table, data version included.
		same := func(what string, c int32, path ...string) {
			t.Until(100*time.Second, who+": "+what, func() (bool, string) {
				a, b := fmt.Sprint(wire.At(m.json(c, nil, nil), path...)), fmt.Sprint(wire.At(s.json(c, nil, nil), path...))
				return a == b, "slave has " + b + ", master " + a
			})
		}
		same("version of topics", code.GetAllTopicConfig, "dataVersion")
		same("version of groups", code.GetAllSubscriptionGroupConfig, "dataVersion")
		same("delay offsets", code.GetAllDelayOffset, "offsetTable")
		// What is deleted at the master goes.
		m.ok(code.DeleteTopicInBroker, wire.Ext("topic", gone), nil)
		t.Until(100*time.Second, who+": deleted topic gone", func() (bool, string) {
			f := s.call(code.GetTopicConfig, wire.Ext("topic", gone), nil)
			return f.Code == int(code.TopicNotExist), f.String()
		})
		// It is on disk.
		t.Must(p.slave.Kill(), "kill the slave")
		t.Must(p.slave.Restart(nil), "start it again")
		s = t.dial(p.slave.Addr())
		s.ok(code.GetTopicConfig, wire.Ext("topic", topic), nil)
		_ = p.slave.Stop()
		_ = p.master.Stop()
	})
}

// isThere waits until a slave has what slaveMetadata made.
func (p *duo) isThere(who string, s *raw, topic, group string) {
	look := func(what string, c int32, want string, path ...string) {
		p.Until(100*time.Second, who+": "+what, func() (bool, string) {
			v, err := wire.Loose(s.call(c, nil, nil).Body)
			if err != nil {
				return false, err.Error()
			}
			got := fmt.Sprint(wire.At(v, path...))
			return got == want, "is " + got
		})
	}
	look("queues", code.GetAllTopicConfig, "5", "topicConfigTable", topic, "writeQueueNums")
	look("attributes", code.GetAllTopicConfig, "map[message.type:NORMAL]", "topicConfigTable", topic, "attributes")
	look("group", code.GetAllSubscriptionGroupConfig, "7", "subscriptionGroupTable", group, "retryMaxTimes")
	look("offset", code.GetAllConsumerOffset, "42", "offsetTable", topic+"@"+group, "2")
	look("delay offset", code.GetAllDelayOffset, "1", "offsetTable", "1")
	look("request mode", code.GetAllMessageRequestMode, "POP", "messageRequestModeMap", topic, group, "mode")
	p.Until(60*time.Second, who+": timer", func() (bool, string) {
		b := s.call(code.GetTimerCheckPoint, nil, nil).Body
		if len(b) != 56 {
			return false, fmt.Sprintf("%d bytes", len(b))
		}
		return b[31] == 1, fmt.Sprintf("master's queue offset %d", b[31])
	})
}

// actingConf are the settings with which slaves act.
func actingConf(more testkit.Props) testkit.Props {
	return hasty(testkit.Props{
		"enableSlaveActingMaster": "true", "enableRemoteEscape": "true", "compatibleWithOldNameSrv": "false", "brokerNotActiveTimeoutMillis": "4000", "transactionCheckMax": "1000",
	}).With(more)
}

// actingPair is a pair whose slave acts, and another broker that takes what the slave may not store.
func (t *T) actingPair(of [2]testkit.Target) (p *duo, other testkit.Server) {
	ns := t.ownNamesrv(testkit.Props{"supportActingMaster": "true", "notifyMinBrokerIdChanged": "true"})
	other = t.ownBroker(ns.Addr(), hasty(testkit.Props{"enableSlaveActingMaster": "true"}))
	return t.duo(of, ns, actingConf(testkit.Props{"totalReplicas": "2"})), other
}

func slaveActs(t *T) {
	atOnce(t, t.duos(), func(of [2]testkit.Target) {
		p, other := t.actingPair(of)
		m, s, o := t.dial(p.master.Addr()), t.dial(p.slave.Addr()), t.dial(other.Addr())
		topic, group := t.Name("Acting"), t.Name("G")
		for _, r := range []*raw{m, o} {
			r.topic(topic, topicConf{})
			r.group(group, "")
		}
		m.await1(topic, "first")
		m.ok(code.UpdateConsumerOffset, wire.Ext("consumerGroup", group, "topic", topic, "queueId", 0, "commitOffset", 1), nil)
		p.replicated(60 * time.Second)
		t.Until(100*time.Second, "metadata at the slave", func() (bool, string) {
			f := s.call(code.QueryConsumerOffset, wire.Ext("consumerGroup", group, "topic", topic, "queueId", 0), nil)
			return f.Code == 0 && f.Int("offset") == 1, f.String()
		})
		// A Java master takes nothing back if it was killed before it had written its own files: their data version is a new one then.
		t.Until(30*time.Second, "master's files", func() (bool, string) {
			offsets, err := os.ReadFile(filepath.Join(testkit.StoreDir(p.master), "config", "consumerOffset.json"))
			delays, err2 := os.ReadFile(filepath.Join(testkit.StoreDir(p.master), "config", "delayOffset.json"))
			return err == nil && err2 == nil && strings.Contains(string(offsets), topic+"@"+group) && len(delays) > 0, fmt.Sprint(err, err2)
		})
		// Late enough for a busy machine to have killed the master before.
		m.send(message{topic: topic, body: []byte("delayed"), properties: wire.Properties("DELAY", "4", "UNIQ_KEY", "ud")})
		m.send(message{topic: topic, body: []byte("timed"), properties: wire.Properties("TIMER_DELAY_SEC", "31", "UNIQ_KEY", "ut")})
		m.half(topic, "PG", "UH")
		p.replicated(60 * time.Second)
		active := func(r *raw) string {
			return runtimeOf(r, "brokerActive")
		}
		t.Until(30*time.Second, "slave is not active while there is a master", func() (bool, string) { got := active(s); return got == "false", got })
		t.Must(p.master.Kill(), "kill the master")
		t.Until(30*time.Second, "slave acts", func() (bool, string) { got := active(s); return got == "true", got })
		// Consumers find it in the master's place, and take locks there.
		n := t.dial(p.ns.Addr())
		t.Until(30*time.Second, "slave shown as master", func() (bool, string) {
			got := fmt.Sprint(n.route(topic))
			return strings.Contains(got, "0:"+p.slave.Addr()), got
		})
		held, _ := wire.At(s.json(code.LockBatchMQ, nil, lockBody("one", group, topic, p.name, 0)), "lockOKMQSet").([]any)
		Equal(t, "queues locked at the slave", len(held), 1)
		s.ok(code.UpdateConsumerOffset, wire.Ext("consumerGroup", group, "topic", topic, "queueId", 0, "commitOffset", 77), nil)
		// What is due comes, at the broker that can store it.
		var got string
		t.Until(90*time.Second, "delayed and timed message at the other broker", func() (bool, string) {
			got = bodiesOf(o.records(topic, 0, 0))
			return strings.Contains(got, "delayed") && strings.Contains(got, "timed"), got
		})
		t.Until(60*time.Second, "half message at the other broker", func() (bool, string) {
			got := bodiesOf(o.records(halfTopic, 0, 0))
			return strings.Contains(got, "UH"), got
		})
		// The master returns: it goes on where the slave has got to.
		t.Must(p.master.Restart(nil), "start the master again")
		p.members(90*time.Second, map[string]string{"0": p.master.Addr(), "1": p.slave.Addr()})
		t.Until(30*time.Second, "slave does not act any more", func() (bool, string) { got := active(s); return got == "false", got })
		m = t.dial(p.master.Addr())
		Equal(t, "master is active", active(m), "true")
		who := fmt.Sprintf("%s master, %s slave: ", of[0].Name(), of[1].Name())
		Equal(t, who+"offset taken back", m.ok(code.QueryConsumerOffset, wire.Ext("consumerGroup", group, "topic", topic, "queueId", 0), nil).Int("offset"), 77)
		m.await1(topic, "second")
		p.replicated(60 * time.Second)
		if got := bodiesOf(m.records(topic, 0, 0)); strings.Contains(got, "delayed") {
			t.Errorf("%swhat the slave has delivered is delivered again: %s", who, got)
		}
		for _, server := range []testkit.Server{p.slave, p.master, other} {
			_ = server.Stop()
		}
	})
}

// await1 sends a message and waits until it can be read. It does not pull it: see slaveMetadata.
func (r *raw) await1(topic, text string) {
	f := r.send(message{topic: topic, body: []byte(text)})
	r.t.Until(10*time.Second, "message readable", func() (bool, string) {
		n := r.ok(code.GetMaxOffset, wire.Ext("topic", topic, "queueId", f.Int("queueId")), nil).Int("offset")
		return n > f.Int("queueOffset"), fmt.Sprint(n)
	})
}

func bodiesOf(recs []wire.Record) string {
	var out []string
	for _, r := range recs {
		out = append(out, string(r.Body))
	}
	return strings.Join(out, " ")
}

func remoteEscape(t *T) {
	for _, of := range t.duos()[:1] {
		p, other := t.actingPair(of)
		m, o := t.dial(p.master.Addr()), t.dial(other.Addr())
		topic, absent := t.Name("Escape"), t.Name("Absent")
		m.topic(topic, topicConf{})
		m.topic(absent, topicConf{})
		o.topic(topic, topicConf{})
		for i := range 3 {
			m.send(message{topic: topic, body: []byte(fmt.Sprint("m", i)), properties: wire.Properties("DELAY", "3", "UNIQ_KEY", fmt.Sprint("u", i), "k", "v")})
		}
		m.send(message{topic: absent, body: []byte("stays"), properties: wire.Properties("DELAY", "2")})
		p.replicated(60 * time.Second)
		t.Must(p.master.Kill(), "kill the master")
		t.Until(60*time.Second, "messages at the other broker", func() (bool, string) {
			got := bodiesOf(o.records(topic, 0, 0))
			return got == "m0 m1 m2", got
		})
		rec := o.records(topic, 0, 0)[0]
		Equal(t, "properties", rec.Properties["UNIQ_KEY"]+" "+rec.Properties["k"], "u0 v")
		// What nobody else takes waits for the master.
		t.Must(p.master.Restart(nil), "start the master again")
		p.members(90*time.Second, map[string]string{"0": p.master.Addr(), "1": p.slave.Addr()})
		m = t.dial(p.master.Addr())
		t.Until(30*time.Second, "message that nobody else takes", func() (bool, string) {
			got := bodiesOf(m.records(absent, 0, 0))
			return got == "stays", got
		})
	}
}
