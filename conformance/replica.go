package conformance

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"apogee/compat/body"
	"apogee/conformance/replication"
	"apogee/conformance/wire"
	"apogee/internal/testkit"
	"apogee/remoting/code"
)

// The master is the target's; its slaves are of both implementations, where both are here. Both targets together are the whole matrix.
var replicaCases = []Case{
	{Area: "HA", Feature: "Async replication master/slave", Own: true, Run: asyncReplication, Limit: 6 * time.Minute},
	{Area: "HA", Feature: "Sync replication", Own: true, Run: syncReplication, Limit: 6 * time.Minute},
	{Area: "HA", Feature: "In-sync replicas settings", Own: true, Run: tooFewReplicas, Limit: 4 * time.Minute},
	{Area: "HA", Feature: "haStatus runtime info", Own: true, Run: haStatus, Limit: 6 * time.Minute},
}

// pair is a master and one slave.
type pair struct {
	*T
	master, slave testkit.Server
	what          string // for failures
	namesrv       string
	haAddr        string
	topic         string
	sent          int
}

// slaveKinds is who can be a slave here.
func (t *T) slaveKinds() []testkit.Target {
	kinds := []testkit.Target{t.needTarget()}
	if other, err := counterpart(t.Target); err == nil {
		kinds = append(kinds, other)
	} else {
		t.Logf("no slaves of the other implementation: %v", err)
	}
	return kinds
}

// replicaConf are settings that make for quick connections and several log files.
func replicaConf(name string) testkit.Props {
	return baseConf(name).With(testkit.Props{
		"mappedFileSizeCommitLog": "65536", "haSendHeartbeatInterval": "500", "haHousekeepingInterval": "8000", "maxMessageSize": "20000",
	})
}

// newPair starts a master; slaves are started later.
func (t *T) newPair(conf testkit.Props) *pair {
	name := strings.ReplaceAll(t.Name("group"), "_", "-")
	ports, err := testkit.HoldBrokerPorts()
	t.Must(err, "ports")
	t.Cleanup(ports.Release)
	conf = replicaConf(name).With(testkit.Props{"listenPort": ports.Text()}).With(conf)
	ns := t.ownNamesrv(nil)
	m, err := t.Target.Broker(filepath.Join(t.tempDir(), name+"-m"), ns.Addr(), conf)
	t.Must(err, "start the master")
	t.Cleanup(func() { _ = m.Stop() })
	p := &pair{T: t, master: m, namesrv: ns.Addr(), haAddr: testkit.Addr(ports.Port() + 1), topic: t.Name("T")}
	b := t.dial(m.Addr())
	defer b.Close()
	b.topic(p.topic, topicConf{read: 4})
	return p
}

// follow starts a slave. The name server tells it who is master: Java's slaves forget haMasterAddress before they use it.
func (p *pair) follow(kind testkit.Target, conf testkit.Props) {
	id := p.Name("s")
	dir := filepath.Join(p.tempDir(), id)
	name := strings.TrimSuffix(filepath.Base(p.master.Dir()), "-m")
	s, err := kind.Broker(dir, p.namesrv, replicaConf(name).With(testkit.Props{"brokerRole": "SLAVE", "brokerId": "1"}).With(conf))
	p.Must(err, "start a slave")
	p.Cleanup(func() { _ = s.Stop() })
	p.slave, p.what = s, p.Target.Name()+" master, "+kind.Name()+" slave"
}

// send sends n messages and returns the codes of the answers.
func (p *pair) send(n, size int) []int {
	b := p.dial(p.master.Addr())
	defer b.Close()
	var codes []int
	for range n {
		p.sent++
		text := fmt.Sprintf("%d:%s", p.sent, strings.Repeat("r", size))
		codes = append(codes, b.trySend(message{topic: p.topic, queue: p.sent % 4, body: []byte(text), properties: wire.Properties("KEYS", fmt.Sprint("k", p.sent))}).Code)
	}
	return codes
}

// caughtUp waits until the slave's log is as long as the master's, and compares them byte by byte.
func (p *pair) caughtUp(when string) {
	var end int64
	p.Until(40*time.Second, p.what+": "+when, func() (bool, string) {
		var mErr, sErr error
		var got int64
		end, mErr = replication.LogEnd(p.master)
		got, sErr = replication.LogEnd(p.slave)
		return mErr == nil && sErr == nil && got == end, fmt.Sprintf("the slave's log ends at %d (%v), the master's at %d (%v)", got, sErr, end, mErr)
	})
	p.Until(40*time.Second, p.what+": "+when+": acknowledged", func() (bool, string) {
		info := p.haInfo(p.master)
		return len(info.HAConnectionInfo) == 1 && info.HAConnectionInfo[0].SlaveAckOffset == end, fmt.Sprintf("%+v", info)
	})
	if _, err := replication.SameLog(p.master, p.slave, end); err != nil {
		p.Errorf("%s: %s: %v", p.what, when, err)
	}
	p.Until(20*time.Second, p.what+": "+when+": queues", func() (bool, string) {
		m, s := p.queueEnds(p.master), p.queueEnds(p.slave)
		return m == s, fmt.Sprintf("the slave's end at %s, the master's at %s", s, m)
	})
}

// haInfo is the answer to GET_BROKER_HA_STATUS.
func (p *pair) haInfo(s testkit.Server) (info body.HARuntimeInfo) {
	b := p.dial(s.Addr())
	defer b.Close()
	p.Must(json.Unmarshal(b.ok(code.GetBrokerHAStatus, nil, nil).Body, &info), "body of 907")
	return info
}

func (p *pair) queueEnds(s testkit.Server) string {
	b := p.dial(s.Addr())
	defer b.Close()
	var ends []string
	for q := range 4 {
		f := b.call(code.GetMaxOffset, wire.Ext("topic", p.topic, "queueId", q), nil)
		ends = append(ends, fmt.Sprint(f.Int("offset")))
	}
	return strings.Join(ends, " ")
}

func asyncReplication(t *T) {
	atOnce(t, t.slaveKinds(), func(kind testkit.Target) {
		p := t.newPair(testkit.Props{"brokerRole": "ASYNC_MASTER"})
		p.send(5, 100)
		p.follow(kind, nil)
		p.caughtUp("what was there")
		p.send(40, 6000) // several files, records across chunks of 32 KiB
		p.caughtUp("several files")
		t.Must(p.slave.Kill(), "kill the slave")
		p.send(20, 3000)
		t.Must(p.slave.Restart(nil), "start the slave again")
		p.caughtUp("after the slave was killed")
		t.Must(p.master.Kill(), "kill the master")
		t.Must(p.master.Restart(nil), "start the master again")
		p.send(20, 3000)
		p.caughtUp("after the master was killed")
		t.Must(p.slave.Stop(), "stop the slave")
		t.Must(p.master.Stop(), "stop the master")
	})
}

// count is how many of the answers have a code.
func count(codes []int, want int32) (n int) {
	for _, c := range codes {
		if c == int(want) {
			n++
		}
	}
	return n
}

func syncReplication(t *T) {
	atOnce(t, t.slaveKinds(), func(kind testkit.Target) {
		p := t.newPair(testkit.Props{"brokerRole": "SYNC_MASTER", "inSyncReplicas": "2", "slaveTimeout": "3000"})
		Equal(t, "answers of 12 without a slave", count(p.send(2, 10), code.FlushSlaveTimeout), 2)
		b := t.dial(p.master.Addr())
		f := b.trySend(message{topic: p.topic, body: []byte("nobody waits"), properties: wire.Properties("WAIT", "false")})
		Equal(t, "answer to WAIT=false", f.Code, int(code.Success))
		b.Close()
		p.follow(kind, nil)
		p.caughtUp("what was there")
		Equal(t, p.what+": answers of 0", count(p.send(60, 2500), code.Success), 60)
		// What was acknowledged is on the slave, even if both die now.
		t.Must(p.master.Kill(), "kill the master")
		t.Must(p.slave.Kill(), "kill the slave")
		t.Must(p.slave.Restart(nil), "start the slave again")
		Equal(t, p.what+": messages on the slave alone", sum(p.queueEnds(p.slave)), 63)
		t.Must(p.master.Restart(nil), "start the master again")
		p.caughtUp("after both were killed")
		Equal(t, p.what+": answers of 0 after both were killed", count(p.send(5, 2500), code.Success), 5)
		t.Must(p.slave.Kill(), "kill the slave")
		Equal(t, p.what+": answers of 12 without it", count(p.send(2, 10), code.FlushSlaveTimeout), 2)
		t.Must(p.slave.Restart(nil), "start the slave again")
		p.caughtUp("the slave is back")
		Equal(t, p.what+": answers of 0 with it", count(p.send(5, 10), code.Success), 5)
		t.Must(p.slave.Stop(), "stop the slave")
		t.Must(p.master.Stop(), "stop the master")
	})
}

// sum adds up numbers in a text.
func sum(text string) (n int) {
	for word := range strings.FieldsSeq(text) {
		v, _ := strconv.Atoi(word)
		n += v
	}
	return n
}

func haStatus(t *T) {
	p := t.newPair(nil)
	info := p.haInfo(p.master)
	Equal(t, "master", info.Master, true)
	Equal(t, "slaves of a master without any", len(info.HAConnectionInfo), 0)
	for _, kind := range t.slaveKinds() {
		p.follow(kind, nil)
		p.send(10, 1000)
		p.caughtUp("10 messages")
		end, err := replication.LogEnd(p.master)
		t.Must(err, "end of the master's log")
		info = p.haInfo(p.master)
		c := info.HAConnectionInfo[0]
		Equal(t, p.what+": end", info.MasterCommitLogMaxOffset, end)
		Equal(t, p.what+": slaves in sync", info.InSyncSlaveNums, 1)
		Equal(t, p.what+": in sync", c.InSync, true)
		Equal(t, p.what+": difference", c.Diff, 0)
		Equal(t, p.what+": transferred up to", c.TransferFromWhere, end)
		if !strings.HasPrefix(c.Addr, "127.0.0.1:") {
			t.Errorf("%s: address %q", p.what, c.Addr)
		}
		of := p.haInfo(p.slave)
		Equal(t, p.what+": slave is master", of.Master, false)
		Equal(t, p.what+": slave's master", of.HAClientRuntimeInfo.MasterAddr, p.haAddr)
		Equal(t, p.what+": slave's end", of.HAClientRuntimeInfo.MaxOffset, end)
		if of.HAClientRuntimeInfo.LastReadTimestamp == 0 || of.HAClientRuntimeInfo.LastWriteTimestamp == 0 {
			t.Errorf("%s: times %+v", p.what, of.HAClientRuntimeInfo)
		}
		if kind.Name() == t.Target.Name() {
			p.haTools()
		}
		t.Must(p.slave.Stop(), "stop the slave")
		p.Until(20*time.Second, p.what+": gone", func() (bool, string) {
			info = p.haInfo(p.master)
			return len(info.HAConnectionInfo) == 0, fmt.Sprintf("%+v", info)
		})
	}
}

// tooFewReplicas has a master that counts who is alive, which Java's does where slaves may act for it. Without that a put of a sync master is
// stored, and answered with FLUSH_SLAVE_TIMEOUT.
func tooFewReplicas(t *T) {
	acting := testkit.Props{"brokerRole": "SYNC_MASTER", "inSyncReplicas": "2", "enableSlaveActingMaster": "true", "slaveTimeout": "1500"}
	p := t.newPair(acting)
	Equal(t, "answers of 1 with one of two replicas", count(p.send(4, 10), code.SystemError), 4)
	Equal(t, "messages stored", sum(p.queueEnds(p.master)), 0)
	t.Must(p.master.Stop(), "stop the master")
	t.Must(p.master.Restart(testkit.Props{"enableAutoInSyncReplicas": "true"}), "start it with enableAutoInSyncReplicas")
	Equal(t, "answers of 0 with as many as there are", count(p.send(4, 10), code.Success), 4)
	t.Must(p.master.Stop(), "stop the master")
	t.Must(p.master.Restart(testkit.Props{"minInSyncReplicas": "2"}), "start it with minInSyncReplicas=2")
	Equal(t, "answers of 1 with fewer than minInSyncReplicas", count(p.send(4, 10), code.SystemError), 4)
	t.Must(p.master.Stop(), "stop the master")
}
