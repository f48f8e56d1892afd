package broker

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"apogee/compat/body"
	"apogee/compat/fastjson"
	"apogee/internal/clock"
	"apogee/remoting/code"
	"apogee/remoting/header"
)

const damageConf = "timerWheelEnable=false\nautoCreateSubscriptionGroup=false\nautoCreateTopicEnable=false\n"

// usedDirectory is a directory that a broker has used: topics T and B (one of batches), group G with an offset and a mode, a delayed message that
// was delivered. Each file of config has a backup.
func usedDirectory(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	n := startNode(t, dir, damageConf)
	queueOfMessages(n)
	b := topicHeader("B")
	b.Attributes = "+queue.type=BatchCQ"
	n.call(code.Success, code.UpdateAndCreateTopic, b, nil)
	n.send("B", "in a queue of batches")
	n.makeTopic("Unused")
	delayed := sendHeader("T")
	delayed.QueueID, delayed.Properties = 1, "DELAY\x011\x02"
	n.call(code.Success, code.SendMessage, delayed, []byte("later"))
	for _, off := range []int64{1, 2} { // two versions of each file
		n.call(code.Success, code.UpdateConsumerOffset, &header.UpdateConsumerOffsetRequest{ConsumerGroup: "G", Topic: "T", CommitOffset: off}, nil)
		n.call(code.Success, code.SetMessageRequestMode, nil, fastjson.Marshal(&body.SetMessageRequestModeRequestBody{
			Topic: "T", ConsumerGroup: "G", Mode: "POP", PopShareQueueNum: int32(off),
		}))
		n.persistOrLog()
	}
	eventually(t, "the delayed message does not arrive", func() bool { return n.store.MaxOffset("T", 1) == 1 })
	n.stop()
	return dir
}

func copyDir(t *testing.T, from string) string {
	t.Helper()
	to := t.TempDir()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	return to
}

// damage is what may have happened to a file: it is given its contents, and returns what is left, nil for nothing.
type damage struct {
	name string
	do   func(text []byte) []byte
}

var damages = []damage{
	{"missing", func([]byte) []byte { return nil }},
	{"empty", func([]byte) []byte { return []byte{} }},
	{"zeros", func(b []byte) []byte { return make([]byte, len(b)) }},
	{"half written", func(b []byte) []byte { return b[:len(b)*2/3] }},
	{"a flipped bit", func(b []byte) []byte {
		b = bytes.Clone(b)
		b[bytes.LastIndexByte(b, ':')] ^= 1
		return b
	}},
}

func (d *damage) inflict(t *testing.T, name string) (gone bool) {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	left := d.do(text)
	if left == nil {
		err = os.Remove(name)
	} else {
		err = os.WriteFile(name, left, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return left == nil
}

// logged starts a broker and returns what it has logged by then, warnings and errors.
func logged(t *testing.T, dir string) (*node, string) {
	t.Helper()
	var log bytes.Buffer
	b := newLoggingBroker(t, dir, damageConf, clock.Now, slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn})))
	n := startBroker(t, b)
	return n, log.String()
}

// Each file of config, damaged in each way, alone and together with its backup: the broker starts, serves what it can, tells of it in one
// line that names the file, and keeps what it could not use. The files are whole again when it has stopped.
// (apache/rocketmq issues 5905, 9826 and 9984: topics that vanished with a file of no length.)
func TestDamagedConfig(t *testing.T) {
	used := usedDirectory(t)
	for _, file := range []struct {
		name    string
		backup  func(t *testing.T, n *node) // what must be there if the backup was good
		without func(t *testing.T, n *node) // what must be there in any case
	}{
		{"topics.json", hasTopics, hasTopics},
		{"subscriptionGroup.json", hasGroup, hasGroup},
		{"consumerOffset.json", hasOffset, nil},
		{"messageRequestMode.json", hasMode, nil},
		{"delayOffset.json", nil, nil},
		{"consumerFilter.json", nil, nil},
		{"consumerOrderInfo.json", nil, nil},
		{"transactionMetrics", nil, nil},
	} {
		if _, err := os.Stat(filepath.Join(used, "config", file.name)); err != nil {
			if file.backup != nil {
				t.Fatal(err)
			}
			continue // this broker had nothing to write there
		}
		for _, d := range damages {
			for _, both := range []bool{false, true} {
				name := file.name + "/" + d.name
				if both {
					name += "/with its backup"
				}
				t.Run(name, func(t *testing.T) {
					dir := copyDir(t, used)
					config := filepath.Join(dir, "config")
					path := filepath.Join(config, file.name)
					_, err := os.Stat(path + ".bak")
					hadBackup := err == nil
					gone := d.inflict(t, path)
					if both && hadBackup {
						d.inflict(t, path+".bak")
					}
					silent := gone && (both || !hadBackup) && file.without == nil // as in a new directory
					n, log := logged(t, dir)
					if lines := strings.Count(log, file.name); silent != (lines == 0) {
						t.Errorf("logged\n%s", log)
					}
					nothing := d.name == "empty" && (both || !hadBackup) // there is nothing to keep
					if !silent && !gone && !nothing && len(glob(t, config, file.name+`\.corrupt-\d{8}-\d{6}`)) != 1 {
						t.Errorf("nothing was kept, the log says\n%s", log)
					}
					if hadBackup && !both && file.backup != nil {
						file.backup(t, n)
					}
					if !silent && file.without != nil {
						file.without(t, n)
					}
					n.call(code.Success, code.PullMessage, pullHeader("TOOLS_CONSUMER", "T", 0), nil)
					n.stop()
					n, log = logged(t, dir)
					if !silent && strings.Contains(log, file.name) {
						t.Errorf("the file is still damaged:\n%s", log)
					}
					n.stop()
				})
			}
		}
	}
}

func glob(t *testing.T, dir, pattern string) (found []string) {
	t.Helper()
	whole := regexp.MustCompile("^" + pattern + "$")
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if whole.MatchString(e.Name()) {
			found = append(found, e.Name())
		}
	}
	return found
}

func hasTopics(t *testing.T, n *node) {
	t.Helper()
	if c, ok := n.topics.Get("T"); !ok || c.ReadQueueNums < 2 || c.Perm != 6 {
		t.Errorf("topic T: %+v", c)
	}
	if c, ok := n.topics.Get("B"); !ok || c.Attributes["queue.type"] != "BatchCQ" || n.store.MaxOffset("B", 0) != 1 {
		t.Errorf("topic B: %+v", c)
	}
	n.send("T", "it still takes messages")
}

func hasGroup(t *testing.T, n *node) {
	t.Helper()
	n.call(code.Success, code.PullMessage, pullHeader("G", "T", 0), nil)
}

func hasOffset(t *testing.T, n *node) {
	t.Helper()
	if off, ok := n.offsets.Query("G", "T", 0); !ok || off < 1 || off > 2 {
		t.Errorf("offset %d, %v", off, ok)
	}
}

func hasMode(t *testing.T, n *node) {
	t.Helper()
	if m, ok := n.modes.Get("T", "G"); !ok || m.Mode != "POP" {
		t.Errorf("mode %+v, %v", m, ok)
	}
}

// What is ahead of the damage is read where the backup is of no use.
func TestHalfOfAConfigFile(t *testing.T) {
	dir := copyDir(t, usedDirectory(t))
	name := filepath.Join(dir, "config", "consumerOffset.json")
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	cut := bytes.Index(text, []byte(`"pullOffsetTable"`))
	if err := os.WriteFile(name, text[:cut], 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(name + ".bak"); err != nil {
		t.Fatal(err)
	}
	n, log := logged(t, dir)
	if off, ok := n.offsets.Query("G", "T", 0); !ok || off != 2 {
		t.Errorf("offset %d, %v", off, ok)
	}
	if !strings.Contains(log, "level=ERROR") || !strings.Contains(log, "ahead of the damage") {
		t.Errorf("logged %s", log)
	}
	n.stop()
}

// Topics are made of the commit log where neither their file nor their queues are left.
func TestTopicsOfNothingButTheLog(t *testing.T) {
	dir := copyDir(t, usedDirectory(t))
	for _, name := range []string{"consumequeue", "config/topics.json.bak", "config/subscriptionGroup.json.bak", "index"} {
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"topics.json", "subscriptionGroup.json"} {
		if err := os.WriteFile(filepath.Join(dir, "config", name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	n, _ := logged(t, dir)
	hasTopics(t, n)
	hasGroup(t, n)
	n.stop()
	if _, err := os.Stat(filepath.Join(dir, "consumequeue", "T", "0")); err != nil {
		t.Error(err)
	}
}
