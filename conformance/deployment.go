package conformance

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"apogee/conformance/wire"
	"apogee/internal/testkit"
	"apogee/remoting/code"
)

var deploymentCases = []Case{
	{Area: "deployment", Feature: "bin scripts and flags", Own: true, Run: scripts, Limit: 3 * time.Minute},
	{Area: "deployment", Feature: "conf sample directories", Own: true, Run: samples, Limit: 3 * time.Minute},
	{Area: "deployment", Feature: "broker.conf properties format", Own: true, Run: propertiesFormat},
	{Area: "deployment", Feature: "Env and -D properties", Own: true, Run: environment},
	{Area: "deployment", Feature: "Graceful shutdown", Own: true, Run: gracefulShutdown},
}

func propertiesFormat(t *T) {
	ns := t.ownNamesrv(nil)
	// Written raw by testkit: escapes, other separators, comments, continuation, blanks around values, unknown keys.
	// (An unreadable number stops Apogee, where the reference ignores it; that is said in the README.)
	s := t.ownBroker(ns.Addr(), testkit.Props{
		"# comment\n! comment\nmessageDelayLevel":        "1s 5s 10s \\\n   30s",
		"traceTopicEnable : true\nbrokerClusterName    ": `  Esc\u0061ped\u0043luster`,
		"somethingUnknown":                               "kept",
		"brokerPermission\\u003d":                        "ignored too",
		"autoCreateTopicEnable":                          "FALSE",
	}.With(testkit.Props{"brokerClusterName": "First"}))
	b := t.dial(s.Addr())
	conf := configText(b)
	Equal(t, "continued value", conf["messageDelayLevel"], "1s 5s 10s 30s")
	Equal(t, "colon as separator", conf["traceTopicEnable"], "true")
	Equal(t, "boolean in capitals", conf["autoCreateTopicEnable"], "false")
	if c := conf["brokerClusterName"]; c != "EscapedCluster" && c != "First" {
		t.Errorf("cluster name is %q", c)
	}
	topic := t.Name("T")
	b.topic(topic, topicConf{})
	b.send(message{topic: topic, body: []byte("x")})
}

func environment(t *T) {
	ns := t.ownNamesrv(nil)
	if t.needTarget().Name() != "apogee" {
		t.Skipf("the oracle script gives the name server's address in the file; run against Apogee")
	}
	bin, err := testkit.Binary()
	t.Must(err, "build")
	ports, err := testkit.HoldBrokerPorts()
	t.Must(err, "port")
	t.Cleanup(ports.Release)
	dir := filepath.Join(t.tempDir(), "env")
	t.Must(os.MkdirAll(dir, 0o755), "make a folder")
	conf := baseConf("env-a").With(testkit.Props{
		"listenPort": ports.Text(), "haListenPort": ports.Replicas(), "brokerIP1": "127.0.0.1",
		"bindAddress": "127.0.0.1", "storePathRootDir": filepath.Join(dir, "store"),
	})
	file := filepath.Join(dir, "broker.conf")
	t.Must(conf.WriteFile(file), "write the settings")
	p, err := testkit.Start(testkit.Command{
		Path: bin, Args: []string{"broker", "-c", file}, Dir: dir, Ready: "boot success",
		Env: []string{"NAMESRV_ADDR=" + ns.Addr(), "ROCKETMQ_HOME=" + dir, "HOME=" + dir},
	})
	t.Must(err, "start a broker with NAMESRV_ADDR")
	t.Cleanup(p.Kill)
	c := &cluster{namesrv: ns.Addr(), broker: testkit.Addr(ports.Port()), brokerName: "env-a"}
	t.Must(c.ready(), "registration at the address of the environment")
	Equal(t, "rocketmqHome", configText(t.dial(c.broker))["rocketmqHome"], dir)
	t.Must(p.Stop(), "stop")
}

func gracefulShutdown(t *T) {
	c := t.ownCluster(testkit.Props{"flushDiskType": "ASYNC_FLUSH"})
	b, n := t.dial(c.broker), t.dial(c.namesrv)
	topic, group := t.Name("Graceful"), t.Name("G")
	b.topic(topic, topicConf{})
	b.group(group, "")
	for i := range 20 {
		b.send(message{topic: topic, body: []byte(fmt.Sprint("m", i))})
	}
	b.ok(code.UpdateConsumerOffset, wire.Ext("consumerGroup", group, "topic", topic, "queueId", 0, "commitOffset", 17), nil)
	b.send(message{topic: topic, body: []byte("delayed"), properties: wire.Properties("DELAY", "18")})
	s := c.brokerServer()
	if _, err := os.Stat(filepath.Join(testkit.StoreDir(s), "abort")); err != nil {
		t.Errorf("no abort file while it runs")
	}
	t.Must(s.Stop(), "stop with SIGTERM")
	if _, err := os.Stat(filepath.Join(testkit.StoreDir(s), "abort")); err == nil {
		t.Errorf("abort file is still there")
	}
	t.Until(10*time.Second, "route gone", func() (bool, string) {
		f := n.call(code.GetRouteInfoByTopic, wire.Ext("topic", topic), nil)
		return f.Code == int(code.TopicNotExist), f.String()
	})
	for _, file := range []string{"checkpoint", "config/topics.json", "config/consumerOffset.json", "config/subscriptionGroup.json", "config/delayOffset.json"} {
		if _, err := os.Stat(filepath.Join(testkit.StoreDir(s), file)); err != nil {
			t.Errorf("%v", err)
		}
	}
	t.Must(s.Restart(nil), "start again")
	b = t.dial(c.broker)
	Equal(t, "messages", len(b.await(topic, 0, 20, 10*time.Second)), 20)
	Equal(t, "offset", b.ok(code.QueryConsumerOffset, wire.Ext("consumerGroup", group, "topic", topic, "queueId", 0), nil).Int("offset"), 17)
}

// scripts runs the launch scripts that bear Java's names; the reference brings its own, which are not part of the oracle.
func scripts(t *T) {
	if t.needTarget().Name() != "apogee" {
		t.Skipf("the oracle has no launch scripts; run against Apogee")
	}
	root, err := testkit.Root()
	t.Must(err, "find the scripts")
	dir := t.tempDir()
	nsPort, err := testkit.HoldPort()
	t.Must(err, "port")
	t.Cleanup(nsPort.Release)
	ports, err := testkit.HoldBrokerPorts()
	t.Must(err, "port")
	t.Cleanup(ports.Release)
	nsConf, conf := filepath.Join(dir, "namesrv.conf"), filepath.Join(dir, "broker.conf")
	t.Must(testkit.Props{"listenPort": nsPort.Text(), "bindAddress": "127.0.0.1", "kvConfigPath": filepath.Join(dir, "kv.json")}.WriteFile(nsConf), "write")
	t.Must(baseConf("script-a").With(testkit.Props{
		"listenPort": ports.Text(), "haListenPort": ports.Replicas(), "brokerIP1": "127.0.0.1",
		"bindAddress": "127.0.0.1", "storePathRootDir": filepath.Join(dir, "store"), "namesrvAddr": "127.0.0.1:1",
	}).WriteFile(conf), "write")
	env := []string{"HOME=" + dir, "NAMESRV_ADDR=", "APOGEE_RUN_DIR=" + filepath.Join(dir, "run")}
	// HOME is the case's, so that nothing is written to the user's; the Go tool keeps its caches where they are.
	for _, kind := range []string{"GOCACHE", "GOMODCACHE", "GOPATH"} {
		if v := goEnv(kind); v != "" {
			env = append(env, kind+"="+v)
		}
	}
	run := func(script string, args ...string) (string, error) {
		p, err := testkit.Start(testkit.Command{Path: filepath.Join(root, "bin", script), Args: args, Dir: dir, Env: env})
		if err != nil {
			return "", err
		}
		ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second)
		defer cancel()
		err = p.WaitExit(ctx)
		return p.Output(), err
	}
	for _, row := range []struct {
		script, want string
		args         []string
	}{
		{"mqnamesrv", "listenPort=" + nsPort.Text(), []string{"-c", nsConf, "-p"}},
		{"mqbroker", "brokerName=script-a", []string{"-c", conf, "-p"}},
		{"mqbroker", "brokerName=script-a", []string{"-c", conf, "-m"}},
		{"mqbroker", "namesrvAddr=127.0.0.1:2", []string{"-c", conf, "-n", "127.0.0.1:2", "-p"}},
		{"mqbroker", "-c", []string{"-h"}},
		{"mqnamesrv", "-c", []string{"-h"}},
	} {
		out, err := run(row.script, row.args...)
		if err != nil || !strings.Contains(out, row.want) {
			t.Errorf("%s %v: %v, no %q in its output: %.300s", row.script, row.args, err, row.want, out)
		}
	}
	if out, err := run("mqbroker", "-no-such-option"); err == nil {
		t.Errorf("mqbroker with an unknown option ended well: %.300s", out)
	}
	ns, err := testkit.Start(testkit.Command{Path: filepath.Join(root, "bin", "mqnamesrv"), Args: []string{"-c", nsConf}, Dir: dir, Env: env, Ready: "boot success"})
	t.Must(err, "mqnamesrv")
	t.Cleanup(ns.Kill)
	br, err := testkit.Start(testkit.Command{Path: filepath.Join(root, "bin", "mqbroker"), Args: []string{"-c", conf, "-n", testkit.Addr(nsPort.Port())}, Dir: dir, Env: env, Ready: "boot success"})
	t.Must(err, "mqbroker")
	t.Cleanup(br.Kill)
	want := fmt.Sprintf("The broker[script-a, 127.0.0.1:%d] boot success. serializeType=JSON", ports.Port())
	if !strings.Contains(br.Output(), want) {
		t.Errorf("no %q in the output of mqbroker: %.300s", want, br.Output())
	}
	if !strings.Contains(ns.Output(), "The Name Server boot success. serializeType=JSON") {
		t.Errorf("output of mqnamesrv: %.300s", ns.Output())
	}
	c := &cluster{namesrv: testkit.Addr(nsPort.Port()), broker: testkit.Addr(ports.Port()), brokerName: "script-a"}
	t.Must(c.ready(), "registration")
	t.sendSync(t.producer(c), message1("FromScripts", "x"))
	// mqshutdown stops the servers of its own installation: here, those whose pid files are in this case's folder.
	if out, err := run("mqshutdown"); err == nil || !strings.Contains(out, "Usage") {
		t.Errorf("mqshutdown without an argument: %v, %.300s", err, out)
	}
	for _, row := range []struct {
		kind, name string
		p          *testkit.Process
	}{{"broker", "mqbroker", br}, {"namesrv", "mqnamesrv", ns}} {
		out, err := run("mqshutdown", row.kind)
		if err != nil || !strings.Contains(out, "Send shutdown request to "+row.name) {
			t.Errorf("mqshutdown %s: %v, %.300s", row.kind, err, out)
		}
		select {
		case <-row.p.Ended():
		case <-time.After(20 * time.Second):
			t.Errorf("%s still runs after mqshutdown", row.kind)
		}
		if out, err := run("mqshutdown", row.kind); err == nil || !strings.Contains(out, "No "+row.name+" running.") {
			t.Errorf("mqshutdown %s once more: %v, %.300s", row.kind, err, out)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "store", "abort")); err == nil {
		t.Errorf("abort file is there after mqshutdown")
	}
}
