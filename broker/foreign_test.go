package broker

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"apogee/internal/testkit"
	"apogee/store/foreign"
)

// names lists all that is below a folder, with sizes and times.
func names(t *testing.T, root string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(root, func(name string, e os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err == nil {
			b.WriteString(name + " " + info.ModTime().String() + "\n")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// A directory whose queues and settings are in RocksDB is refused before anything is written there, and the refusal names all of them.
func TestRocksDBDirectoryIsRefused(t *testing.T) {
	dir, _, conf := unpacked(t, "rocksdb")
	before := names(t, dir)
	b := newBroker(t, dir, goldenSettings+conf.Text())
	err := b.Start()
	r, ok := errors.AsType[*foreign.Refusal](err)
	if !ok {
		t.Fatalf("started, or failed otherwise: %v", err)
	}
	var found []string
	for _, f := range r.Findings {
		found = append(found, f.Path)
	}
	if got := strings.Join(found, " "); got != "consumequeue config/topics config/subscriptionGroups config/consumerOffsets" {
		t.Errorf("found %s", got)
	}
	if after := names(t, dir); after != before {
		t.Errorf("the directory has changed:\n%s\nwas\n%s", after, before)
	}
}

// stepLine is a command in the steps of a refusal.
var stepLine = regexp.MustCompile(`^ +(?:\d+\. )?((?:mqadmin|mkdir) .*)$`)

// The steps that a refusal prints, done to the letter with Java's tool, end in a directory that serves what the Java broker served.
func TestRocksDBStepsLeadOut(t *testing.T) {
	dir, m, conf := unpacked(t, "rocksdb")
	java, err := testkit.FindJava()
	if err != nil {
		t.Skipf("SKIPPED, the steps were not done: %v", err)
	}
	err = newBroker(t, dir, goldenSettings+conf.Text()).Start()
	if err == nil {
		t.Fatal("not refused")
	}
	ran := 0
	for line := range strings.Lines(err.Error()) {
		cmd := stepLine.FindStringSubmatch(strings.TrimRight(line, "\n"))
		if cmd == nil {
			continue
		}
		ran++
		if args, ok := strings.CutPrefix(cmd[1], "mqadmin "); ok {
			if out, err := java.Run(context.Background(), t.TempDir(), nil, append([]string{"admin"}, strings.Fields(args)...)...); err != nil {
				t.Fatalf("%s: %v\n%s", cmd[1], err, out)
			}
		} else if out, err := exec.Command("sh", "-c", cmd[1]).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", cmd[1], err, out)
		}
	}
	if ran != 5 {
		t.Errorf("%d commands in the steps, expected three exports and two moves:\n%v", ran, err)
	}
	delete(conf, "storeType")
	sameAsManifest(startGolden(t, dir, conf), &m)
}

// sameAsManifest compares topics, groups, offsets, queues and messages.
func sameAsManifest(n *node, m *manifest) {
	n.t.Helper()
	n.sameTables(m)
	n.sameOffsets(m)
	for topic, q := range m.Topics {
		// With queues in RocksDB Java serves the single messages of a batch queue only, and nothing of a compaction topic.
		if strings.HasPrefix(topic, "Compact_") || strings.HasPrefix(topic, "BatchCq_") {
			continue
		}
		for i := range q.Queues {
			q := &q.Queues[i]
			n.sameQueue(topic, q.QueueID, q.Min, q.Max)
			var shas []string
			for _, msg := range q.Messages {
				shas = append(shas, msg.RecordSha256)
			}
			n.sameMessages(topic, q.QueueID, q.Min, q.Max, shas)
		}
	}
}

func TestForeignSettings(t *testing.T) {
	for _, key := range []string{"enableDLegerCommitLog", "enableControllerMode"} {
		b := newBroker(t, t.TempDir(), key+"=true\n")
		if err := b.Start(); err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("%s: %v", key, err)
		}
	}
}
