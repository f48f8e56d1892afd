package broker

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"testing"
	"time"

	"apogee/compat/body"
	"apogee/compat/fastjson"
	"apogee/internal/clock"
	"apogee/remoting"
	"apogee/remoting/code"
	"apogee/remoting/header"
	"apogee/store"
)

// haInfo is the answer to GET_BROKER_HA_STATUS.
func haInfo(t *testing.T, n *node) (info body.HARuntimeInfo) {
	t.Helper()
	if err := fastjson.Unmarshal(n.call(code.Success, code.GetBrokerHAStatus, nil, nil).Body, &info); err != nil {
		t.Fatal(err)
	}
	return info
}

func sendOne(n *node, body string) int32 {
	r, err := n.client.Call(context.Background(), n.addr, remoting.Outgoing{Code: code.SendMessage, Header: &header.SendMessageRequest{
		ProducerGroup: "P", Topic: "T", DefaultTopic: "TBW102", DefaultTopicQueueNums: 1, BornTimestamp: clock.Now().UnixMilli(),
	}, Body: []byte(body)})
	if err != nil {
		return -1
	}
	return r.Code
}

func TestMasterAndSlave(t *testing.T) {
	m := startNode(t, t.TempDir(), "brokerRole=SYNC_MASTER\ninSyncReplicas=2\nslaveTimeout=50")
	addr := m.replicas.Addr().(*net.TCPAddr)
	if !addr.IP.IsLoopback() {
		t.Errorf("a broker on loopback listens for replicas on %v", addr)
	}
	if c := sendOne(m, "nobody else has it"); c != code.FlushSlaveTimeout {
		t.Errorf("without a slave: %d", c)
	}
	s := startNode(t, t.TempDir(), "brokerRole=SLAVE\nbrokerId=1\nhaMasterAddress="+addr.String())
	end := clock.Now().Add(20 * time.Second)
	for sendOne(m, "x") != code.Success {
		if clock.Now().After(end) {
			t.Fatal("the slave does not follow")
		}
	}
	of, at := haInfo(t, s), haInfo(t, m)
	if !at.Master || at.InSyncSlaveNums != 1 || len(at.HAConnectionInfo) != 1 || at.HAConnectionInfo[0].Diff != 0 {
		t.Errorf("the master says %+v", at)
	}
	if of.Master || of.HAClientRuntimeInfo.MasterAddr != addr.String() || of.HAClientRuntimeInfo.MaxOffset != at.MasterCommitLogMaxOffset {
		t.Errorf("the slave says %+v", of)
	}
	for _, n := range []*node{m, s} {
		n.call(code.Success, code.ResetMasterFlushOffset, &header.ResetMasterFlushOffsetRequest{MasterFlushOffset: 77}, nil)
	}
	if off := haInfo(t, s).HAClientRuntimeInfo.MasterFlushOffset; off != 77 || m.store.MasterFlushed() != 0 {
		t.Errorf("the slave says that %d is on the master's disk, the master %d", off, m.store.MasterFlushed())
	}
	if c := sendOne(s, "to the slave"); c == code.Success {
		t.Error("a slave takes messages")
	}
}

func TestTooFewReplicas(t *testing.T) {
	n := startNode(t, t.TempDir(), "brokerRole=SYNC_MASTER\ninSyncReplicas=2\nenableSlaveActingMaster=true")
	if c := sendOne(n, "x"); c != code.SystemError {
		t.Errorf("one of two replicas: %d", c)
	}
	if end := n.store.Stats().MaxPhysical; end != 0 {
		t.Errorf("the message was stored: the log ends at %d", end)
	}
	n = startNode(t, t.TempDir(), "brokerRole=SYNC_MASTER\ninSyncReplicas=2\nenableSlaveActingMaster=true\nenableAutoInSyncReplicas=true")
	if c := sendOne(n, "x"); c != code.Success {
		t.Errorf("as many as there are: %d", c)
	}
}

// TestNameServerThatForgotTheSlave: a slave that replicates counts although nobody names it.
func TestNameServerThatForgotTheSlave(t *testing.T) {
	for _, auto := range []bool{false, true} {
		m := startNode(t, t.TempDir(), "brokerRole=SYNC_MASTER\ninSyncReplicas=2\nenableSlaveActingMaster=true\nslaveTimeout=20000\nenableAutoInSyncReplicas="+strconv.FormatBool(auto))
		s := startNode(t, t.TempDir(), "brokerRole=SLAVE\nbrokerId=1\nhaMasterAddress="+m.replicas.Addr().String())
		eventually(t, "the slave does not follow", func() bool { return m.replicas.Heard(time.Minute) == 1 })
		m.members.known.Store(&map[int64]string{0: m.addr}) // as a name server says that was started just now
		for range 20 {
			if c := sendOne(m, "x"); c != code.Success {
				t.Fatalf("auto %v: %d", auto, c)
			}
			_, end := m.store.Bounds()
			if _, has := s.store.Bounds(); has != end {
				t.Fatalf("auto %v: the slave has %d of %d, and the message is acknowledged", auto, has, end)
			}
		}
		s.stop()
		eventually(t, "the slave is still there", func() bool { return m.replicas.Heard(time.Minute) == 0 })
		want := int32(code.SystemError)
		if auto {
			want = code.Success
		}
		if c := sendOne(m, "alone"); c != want {
			t.Errorf("auto %v, without the slave: %d", auto, c)
		}
	}
}

// TestTopicThatComesAfterItsMessages: a slave has messages of topics that it does not know, and makes their queues of what they turn out to be.
func TestTopicThatComesAfterItsMessages(t *testing.T) {
	m := startNode(t, t.TempDir(), "brokerRole=ASYNC_MASTER")
	for name, attributes := range map[string]string{"B": "+queue.type=BatchCQ", "K": "+cleanup.policy=COMPACTION", "S": ""} {
		h := topicHeader(name)
		h.Attributes = attributes
		m.call(code.Success, code.UpdateAndCreateTopic, h, nil)
	}
	sendAll := func() {
		h := sendHeader("B")
		h.SysFlag, h.Properties = 128, "INNER_NUM\x013\x02"
		m.call(code.Success, code.SendMessage, h, []byte("three"))
		h = sendHeader("K")
		h.Properties = "KEYS\x01k\x02"
		m.call(code.Success, code.SendMessage, h, []byte("keyed"))
		m.send("S", "simple")
	}
	sendAll()
	sendAll()
	s := startNode(t, t.TempDir(), "brokerRole=SLAVE\nbrokerId=1\nhaMasterAddress="+m.replicas.Addr().String())
	ends := func(n *node) string {
		return fmt.Sprint(n.store.MaxOffset("B", 0), n.store.MaxOffset("K", 0), n.store.MaxOffset("S", 0))
	}
	eventually(t, "the messages do not come", func() bool { return ends(s) == "2 2 2" })
	s.slave.SetMaster(m.addr, "test", "it is known now")
	eventually(t, "queues are of the wrong kind", func() bool { return ends(s) == "6 2 2" })
	sendAll()
	eventually(t, "replication does not go on", func() bool { return ends(s) == "9 3 3" && ends(s) == ends(m) })
	eventually(t, "the compaction topic is not read as one", func() bool {
		var res store.GetResult
		defer res.Release()
		s.store.Get(&store.GetRequest{Topic: "K", Offset: 2, MaxCount: 1}, &res)
		return res.Status == store.Found
	})
}
