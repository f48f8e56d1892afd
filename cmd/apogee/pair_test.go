package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"apogee/compat/body"
	"apogee/compat/fastjson"
	"apogee/internal/testkit"
	"apogee/remoting"
	"apogee/remoting/code"
	"apogee/remoting/header"
)

// TestNameServerRestartsBesideAPair: a master that waits for its slave, which may act for it, takes messages without a pause while the only
// name server they have is killed and started again, and knows neither of them.
func TestNameServerRestartsBesideAPair(t *testing.T) {
	dir := t.TempDir()
	nameServer := func(port string) (*testkit.Process, string) {
		t.Helper()
		p, err := process(t, dir, "boot success", "namesrv", "-D", "bindAddress=127.0.0.1", "-D", "listenPort="+port)
		if err != nil {
			t.Fatal(err)
		}
		_, addr, _ := strings.Cut(p.Output(), "address ")
		addr, _, _ = strings.Cut(addr, "\n")
		return p, addr
	}
	ns, names := nameServer("0")
	broker := func(name string, conf ...string) string {
		t.Helper()
		args := []string{"broker", "-n", names}
		for _, c := range append(conf, "brokerName=b", "bindAddress=127.0.0.1", "brokerIP1=127.0.0.1", "brokerIP2=127.0.0.1", "listenPort=0", small,
			"storePathRootDir="+dir+"/"+name, "enableSlaveActingMaster=true", "totalReplicas=2", "inSyncReplicas=2", "minInSyncReplicas=2") {
			args = append(args, "-D", c)
		}
		p, err := process(t, dir, "boot success", args...)
		if err != nil {
			t.Fatal(err)
		}
		_, addr, _ := strings.Cut(p.Output(), "The broker[b, ")
		addr, _, _ = strings.Cut(addr, "]")
		return addr
	}
	master := broker("master", "brokerRole=SYNC_MASTER")
	slave := broker("slave", "brokerRole=SLAVE", "brokerId=1")

	client := remoting.NewClient(remoting.ClientOptions{})
	defer client.Close()
	send := func() (int32, string) {
		resp, err := client.Call(context.Background(), master, remoting.Outgoing{Code: code.SendMessage, Header: &header.SendMessageRequest{
			ProducerGroup: "P", Topic: "T", DefaultTopic: "TBW102", DefaultTopicQueueNums: 1, BornTimestamp: 1,
		}, Body: []byte("x")})
		if err != nil {
			return -1, err.Error()
		}
		return resp.Code, resp.Remark
	}
	named := func() int {
		resp, err := client.Call(context.Background(), names, remoting.Outgoing{Code: code.GetBrokerMemberGroup, Header: &header.GetBrokerMemberGroupRequest{
			ClusterName: "DefaultCluster", BrokerName: "b",
		}})
		var b body.GetBrokerMemberGroupResponseBody
		if err != nil || resp.Code != code.Success || fastjson.Unmarshal(resp.Body, &b) != nil || b.BrokerMemberGroup == nil {
			return 0
		}
		return len(b.BrokerMemberGroup.BrokerAddrs)
	}
	within := time.After(time.Minute)
	wait := func(what string, done func() bool) {
		t.Helper()
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for !done() {
			select {
			case <-tick.C:
			case <-within:
				t.Fatal(what)
			}
		}
	}
	wait("the pair takes no messages", func() bool { c, _ := send(); return c == code.Success && named() == 2 })
	_, port, _ := strings.Cut(names, ":")
	for range 3 {
		sent := 0
		good := func() bool {
			c, remark := send()
			if c != code.Success {
				t.Fatalf("message %d is answered %d: %s", sent, c, remark)
			}
			sent++
			return true
		}
		ns.Kill()
		<-ns.Ended()
		wait("no messages meanwhile", func() bool { return good() && sent > 20 })
		ns, _ = nameServer(port)
		wait("the brokers do not register again", func() bool { return good() && named() == 2 })
		end := sent + 100 // the brokers look each second who is there
		wait("no messages behind", func() bool { return good() && sent > end })
	}
	var of [2]body.HARuntimeInfo
	for i, addr := range []string{master, slave} {
		resp, err := client.Call(context.Background(), addr, remoting.Outgoing{Code: code.GetBrokerHAStatus})
		if err != nil || fastjson.Unmarshal(resp.Body, &of[i]) != nil {
			t.Fatal(err)
		}
	}
	if of[0].InSyncSlaveNums != 1 || of[1].Master || of[0].MasterCommitLogMaxOffset != of[1].HAClientRuntimeInfo.MaxOffset {
		t.Errorf("the master says %+v, the slave %+v", of[0], of[1])
	}
}
