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

	"apogee/conformance/failover"
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
	m.folder, m.env = pageHost(t, java, m.dir, s.Dir())
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
	folder    string // Apogee's
	env       []string
}

// commands are those of the page: up to where Apogee runs, and those that lead back.
func (m *migration) commands() (there, back string) {
	there = strings.Join(append(pageCommands(m.t, "Before"), pageCommands(m.t, "There")...), "")
	back = strings.Join(pageCommands(m.t, "Back"), "")
	if strings.Count(there, "\n") < 8 || strings.Count(back, "\n") < 4 {
		m.t.Fatalf("commands:\n%s\n%s", there, back)
	}
	return there, back
}

// pageCommands are the commands of a section of MIGRATION.md, block by block.
func pageCommands(t *testing.T, section string) (blocks []string) {
	t.Helper()
	root, err := testkit.Root()
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(root, "MIGRATION.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(page), "\n## "+section+"\n")
	if !ok {
		t.Fatalf("the page has no section %q", section)
	}
	text, _, _ := strings.Cut(rest, "\n## ")
	for _, block := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(text, -1) {
		blocks = append(blocks, block[1])
	}
	return blocks
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

// pageHost makes the folders that the page talks of, for a broker that the reference has in work: Apogee's, with its scripts, and that of Java,
// whose scripts, which are not there, are stood in for. It returns Apogee's, and the environment.
func pageHost(t *testing.T, java *testkit.Java, dir, work string) (folder string, env []string) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	root, err := testkit.Root()
	must(err)
	folder = filepath.Join(dir, "apogee")
	home := filepath.Join(dir, "rocketmq")
	for _, bin := range []string{folder, home} {
		must(os.MkdirAll(filepath.Join(bin, "bin"), 0o755))
	}
	for _, name := range []string{"apogee", "mqbroker", "mqshutdown"} {
		must(os.Symlink(filepath.Join(root, "bin", name), filepath.Join(folder, "bin", name)))
	}
	for name, text := range map[string]string{
		"mqbroker":   fmt.Sprintf("#!/bin/sh\n%q %q start-broker \"$2\" && cat %q\n", java.Script, work, filepath.Join(work, "logs/broker.out")),
		"mqshutdown": fmt.Sprintf("#!/bin/sh\n%q %q stop\n", java.Script, work),
		"mqadmin":    fmt.Sprintf("#!/bin/sh\n%q %q admin \"$@\"\n", java.Script, work),
	} {
		must(os.WriteFile(filepath.Join(home, "bin", name), []byte(text), 0o755))
	}
	conf, err := os.ReadFile(filepath.Join(work, "broker.conf"))
	must(err)
	must(os.WriteFile(filepath.Join(work, "broker.conf.page"), conf, 0o644))
	return folder, append(os.Environ(), "CONF="+filepath.Join(work, "broker.conf.page"), "STORE="+filepath.Join(work, "store"), "ROCKETMQ_HOME="+home,
		"APOGEE_RUN_DIR="+filepath.Join(dir, "run"), "APOGEE_LOG_DIR="+filepath.Join(dir, "logs"), "NAMESRV_ADDR=")
}

// runPage runs commands in Apogee's folder.
func runPage(ctx context.Context, folder string, env []string, commands string) error {
	ctx, cancel := context.WithTimeout(ctx, 4*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-eux", "-c", commands)
	cmd.Dir, cmd.Env, cmd.WaitDelay = folder, env, time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w:\n%s", err, out)
	}
	return nil
}

// run runs commands of the page.
func (m *migration) run(commands string) {
	m.t.Helper()
	if err := runPage(m.t.Context(), m.folder, m.env, commands); err != nil {
		m.t.Fatal(err)
	}
}

// TestPairIsUpgradedUnderLoad runs the commands that the page has for a master and its slave while clients work. With one pair sends fail
// while the master is away; bin/failover-test -upgrade has two.
func TestPairIsUpgradedUnderLoad(t *testing.T) {
	if !long() {
		t.Skip("SKIPPED, no pair was upgraded with the commands of MIGRATION.md, which takes minutes: set APOGEE_LONG=1")
	}
	t.Parallel()
	java, err := testkit.FindJava() // three JVMs belong together: there is no room for them one by one
	if err != nil {
		t.Skipf("SKIPPED, no pair was upgraded with the commands of MIGRATION.md: %v; run it where Java is", err)
	}
	blocks := pageCommands(t, "A master and its slaves, with no stop")
	if len(blocks) != 3 {
		t.Fatalf("the page has %d blocks of commands for pairs: %q", len(blocks), blocks)
	}
	dir := t.TempDir()
	type host struct {
		folder string
		env    []string
	}
	hosts := map[string]host{}
	t.Cleanup(func() {
		for _, h := range hosts {
			if err := runPage(context.Background(), h.folder, h.env, "bin/mqshutdown broker || true"); err != nil {
				t.Error(err)
			}
		}
	})
	report, err := failover.Upgrade(t.Context(), failover.UpgradeOptions{
		From: java, To: needBinary(t), Dir: filepath.Join(dir, "cluster"), Pairs: 1, Phase: time.Second, Progress: t.Logf,
		Exchange: func(ctx context.Context, e failover.Exchange) error {
			h, ok := hosts[e.Addr]
			if !ok {
				h.folder, h.env = pageHost(t, java, filepath.Join(dir, fmt.Sprint("host", len(hosts))), e.Dir)
				h.env = append(h.env, "NAMESRV_ADDR="+e.Namesrv, "MASTER="+e.Master)
				hosts[e.Addr] = h
			}
			how := blocks[0]
			if e.To == "java" {
				how = blocks[2]
			}
			if err := runPage(ctx, h.folder, h.env, how); err != nil {
				return err
			}
			return runPage(ctx, h.folder, h.env, blocks[1])
		},
	})
	t.Logf("%v", report)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(report.Findings); n > 0 || report.Acked == 0 {
		t.Errorf("%d findings, %d messages acknowledged", n, report.Acked)
	}
}
