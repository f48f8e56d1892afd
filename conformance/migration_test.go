package conformance

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"apogee/conformance/wire"
	"apogee/internal/testkit"
	"apogee/remoting/code"
)

// TestMigrationPage runs the commands of MIGRATION.md as they stand, on a directory that the reference has written. Its scripts, which are
// not there, are stood in for by ones that start and stop the same classes.
func TestMigrationPage(t *testing.T) {
	t.Parallel()
	java, err := findJava()
	if err != nil {
		t.Skipf("SKIPPED, no command of MIGRATION.md was run: %v; run it where Java is", err)
	}
	m := &migration{t: t, dir: t.TempDir()}
	there, back := m.commands()
	conf := baseConf("migrated").With(testkit.Props{"transactionCheckInterval": "3600000"})
	s, err := java.Broker(filepath.Join(m.dir, "java"), "127.0.0.1:1", conf)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Stop() }()
	m.addr = s.Addr()
	m.fill()
	before := m.look()
	m.standIns(java, s)
	m.run(there)
	if now := m.look(); now != before {
		t.Errorf("after the way there:\n%s\nwas\n%s", now, before)
	}
	m.send("from Apogee")
	before = m.look()
	m.run(back)
	if now := m.look(); now != before {
		t.Errorf("after the way back:\n%s\nwas\n%s", now, before)
	}
}

const migratedTopic = "Migrated"

type migration struct {
	t         *testing.T
	dir, addr string
	env       []string
}

// commands are those of the page: up to where Apogee runs, and those that lead back.
func (m *migration) commands() (there, back string) {
	root, err := testkit.Root()
	if err != nil {
		m.t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(root, "MIGRATION.md"))
	if err != nil {
		m.t.Fatal(err)
	}
	first, second, ok := strings.Cut(string(page), "\n## Back\n")
	if !ok {
		m.t.Fatal("the page has no way back")
	}
	var out [2]string
	for i, part := range []string{first, second} {
		for _, block := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(part, -1) {
			out[i] += block[1]
		}
	}
	if strings.Count(out[0], "\n") < 8 || strings.Count(out[1], "\n") < 4 {
		m.t.Fatalf("commands:\n%s\n%s", out[0], out[1])
	}
	return out[0], out[1]
}

func (m *migration) dial() *wire.Conn { return dialTest(m.t, m.addr) }

func (m *migration) fill() {
	c := m.dial()
	defer c.Close()
	mustTest(m.t, c, code.UpdateAndCreateTopic, wire.Ext("topic", migratedTopic, "defaultTopic", "TBW102", "readQueueNums", 1, "writeQueueNums", 1,
		"perm", 6, "topicFilterType", "SINGLE_TAG", "topicSysFlag", 0, "order", true), nil)
	mustTest(m.t, c, code.UpdateAndCreateSubscriptionGroup, nil, []byte(`{"groupName":"MG","retryMaxTimes":7,"retryQueueNums":1}`))
	for i := range 20 {
		m.send(fmt.Sprint("from Java ", i))
	}
	for _, props := range [][]string{{"TIMER_DELAY_SEC", "36000"}, {"DELAY", "18"}} {
		msg := message{topic: migratedTopic, body: []byte("later"), properties: wire.Properties(props...)}
		mustTest(m.t, c, code.SendMessageV2, msg.short(), msg.body)
	}
	half := message{topic: migratedTopic, body: []byte("half"), sysFlag: 4, properties: wire.Properties("TRAN_MSG", "true", "PGROUP", "PG", "UNIQ_KEY", "H")}
	mustTest(m.t, c, code.SendMessageV2, half.short(), half.body)
	mustTest(m.t, c, code.UpdateConsumerOffset, wire.Ext("consumerGroup", "MG", "topic", migratedTopic, "queueId", 0, "commitOffset", 7), nil)
}

func (m *migration) send(body string) {
	c := m.dial()
	defer c.Close()
	msg := message{topic: migratedTopic, body: []byte(body), properties: wire.Properties("KEYS", "k", "TAGS", "t")}
	mustTest(m.t, c, code.SendMessageV2, msg.short(), msg.body)
}

// look is what a client sees, in a text.
func (m *migration) look() string {
	c := m.dial()
	defer c.Close()
	d := &decider{t: m.t, c: c}
	var b strings.Builder
	for _, topic := range []string{migratedTopic, halfTopic, "rmq_sys_wheel_timer"} {
		recs := d.read(topic, 0)
		if topic == halfTopic {
			recs = recs[:min(1, len(recs))] // its producer is not there: the check stores it again
		}
		for _, rec := range recs {
			fmt.Fprintf(&b, "%s %d %x\n", topic, rec.QueueOffset, sha256.Sum256(rec.Raw))
		}
	}
	for _, rec := range d.read("SCHEDULE_TOPIC_XXXX", 17) {
		fmt.Fprintf(&b, "delayed %d %x\n", rec.QueueOffset, sha256.Sum256(rec.Raw))
	}
	f := mustTest(m.t, c, code.QueryConsumerOffset, wire.Ext("consumerGroup", "MG", "topic", migratedTopic, "queueId", 0), nil)
	fmt.Fprintf(&b, "offset %s\n", f.Ext["offset"])
	for _, table := range []struct {
		request int32
		path    []string
	}{
		{code.GetAllTopicConfig, []string{"topicConfigTable", migratedTopic}},
		{code.GetAllSubscriptionGroupConfig, []string{"subscriptionGroupTable", "MG"}},
	} {
		v, err := wire.Loose(mustTest(m.t, c, table.request, wire.Ext("topicSeq", 0, "groupSeq", 0), nil).Body)
		if err != nil || wire.At(v, table.path...) == nil {
			m.t.Errorf("%v is gone: %v", table.path, err)
		}
		fmt.Fprintln(&b, wire.At(v, table.path...))
	}
	return b.String()
}

// standIns makes the folders that the page talks of: Apogee's, with its scripts, and that of Java.
func (m *migration) standIns(java *testkit.Java, s testkit.Server) {
	root, err := testkit.Root()
	if err != nil {
		m.t.Fatal(err)
	}
	for _, dir := range []string{"apogee/bin", "rocketmq/bin"} {
		if err := os.MkdirAll(filepath.Join(m.dir, dir), 0o755); err != nil {
			m.t.Fatal(err)
		}
	}
	for _, name := range []string{"apogee", "mqbroker", "mqshutdown"} {
		if err := os.Symlink(filepath.Join(root, "bin", name), filepath.Join(m.dir, "apogee/bin", name)); err != nil {
			m.t.Fatal(err)
		}
	}
	work, home := s.Dir(), filepath.Join(m.dir, "rocketmq")
	for name, text := range map[string]string{
		"mqbroker":   fmt.Sprintf("#!/bin/sh\n%q %q start-broker \"$2\" && cat %q\n", java.Script, work, filepath.Join(work, "logs/broker.out")),
		"mqshutdown": fmt.Sprintf("#!/bin/sh\n%q %q stop\n", java.Script, work),
	} {
		if err := os.WriteFile(filepath.Join(home, "bin", name), []byte(text), 0o755); err != nil {
			m.t.Fatal(err)
		}
	}
	m.env = append(os.Environ(), "CONF="+filepath.Join(work, "broker.conf.page"), "STORE="+testkit.StoreDir(s), "ROCKETMQ_HOME="+home,
		"APOGEE_RUN_DIR="+filepath.Join(m.dir, "run"), "APOGEE_LOG_DIR="+filepath.Join(m.dir, "logs"), "NAMESRV_ADDR=")
	conf, err := os.ReadFile(filepath.Join(work, "broker.conf"))
	if err == nil {
		err = os.WriteFile(filepath.Join(work, "broker.conf.page"), conf, 0o644)
	}
	if err != nil {
		m.t.Fatal(err)
	}
}

// run runs commands in Apogee's folder.
func (m *migration) run(commands string) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), 4*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-eux", "-c", commands)
	cmd.Dir, cmd.Env, cmd.WaitDelay = filepath.Join(m.dir, "apogee"), m.env, time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		m.t.Fatalf("%v:\n%s", err, out)
	}
}
