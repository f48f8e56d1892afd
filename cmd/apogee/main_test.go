package main

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"apogee/store/record"
)

// call runs the program in the test's process.
func call(args ...string) (code int, stdout, stderr string) {
	var out, err bytes.Buffer
	code = run(append([]string{"apogee"}, args...), &out, &err)
	return code, out.String(), err.String()
}

func TestUsage(t *testing.T) {
	for _, tc := range []struct {
		args   string
		code   int
		stdout string // what they contain
		stderr string
	}{
		{"", 0, "apogee standalone", ""},
		{"--help", 0, "apogee standalone", ""},
		{"help", 0, "apogee standalone", ""},
		{"version", 0, "V5_5_0 (513)", ""},
		{"nothing", 1, "", "unknown command: nothing"},
		{"--nothing", 1, "", "Unrecognized option: -nothing"},
		{"store nothing", 1, "", "unknown command: nothing"},
		{"store inspect", 1, "", "expected DIR"},
		{"store dump -x", 1, "", "Unrecognized option: -x"},
		{"store dump --body x y", 1, "", "y: no data directory"},
	} {
		code, stdout, stderr := call(strings.Fields(tc.args)...)
		if code != tc.code || !strings.Contains(stdout, tc.stdout) || !strings.Contains(stderr, tc.stderr) {
			t.Errorf("apogee %s: code %d, stdout %q, stderr %q", tc.args, code, stdout, stderr)
		}
		if (tc.stderr == "") != (stderr == "") || tc.code != 0 && stdout != "" {
			t.Errorf("apogee %s: stdout %q, stderr %q", tc.args, stdout, stderr)
		}
	}
}

func TestSplitDefinitions(t *testing.T) {
	got := splitDefinitions([]string{"apogee", "broker", "-Da=b", "-D", "c=d", "-D=x", "-Dx", "--", "-De=f"})
	if want := "apogee broker -D a=b -D c=d -D=x -Dx -- -De=f"; strings.Join(got, " ") != want {
		t.Errorf("got %q", got)
	}
}

// dataDir writes a directory with one message.
func dataDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	host := netip.MustParseAddrPort("127.0.0.1:10911")
	m := record.Message{
		Topic: "Orders", Body: []byte("hello"), BornHost: host, StoreHost: host, BodyCRC: record.BodyCRC([]byte("hello")),
		Properties: string(record.AppendProperty(nil, "TAGS", "red")), StoreTimestamp: 1700000000000,
	}
	layout, err := m.Measure(false)
	if err != nil {
		t.Fatal(err)
	}
	log := make([]byte, 4096)
	record.Encode(log, &m, layout)
	entry := make([]byte, 200)
	entry[11] = byte(layout.Total)
	for path, data := range map[string][]byte{
		"commitlog/00000000000000000000": log, "consumequeue/Orders/0/00000000000000000000": entry,
		"config/topics.json": []byte("{}"), "checkpoint": make([]byte, 4096),
	} {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o444); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestStoreCommands(t *testing.T) {
	dir := dataDir(t)
	for _, tc := range []struct{ args, want string }{
		{"inspect", "1 topics, 1 queues, 1 entries"},
		{"list", "Orders  0      0    1    1"},
		{"dump", `body, 5 bytes: "hello"`},
		{"dump --topic Orders --queue 0 --body hex", "hex 68656c6c6f"},
		{"dump --offset 0 --count 0 --body none", "body, 5 bytes\n"},
		{"config topics.json", "{}\n"},
	} {
		code, stdout, stderr := call(append(append([]string{"store"}, strings.Fields(tc.args)...), dir)...)
		if code != 0 || !strings.Contains(stdout, tc.want) || stderr != "" {
			t.Errorf("%s: code %d\n%s%s", tc.args, code, stdout, stderr)
		}
	}
	for _, tc := range []struct{ args, file, want string }{
		{"inspect", "commitlog/00000000000000000000", `body, 5 bytes: "hello"`},
		{"inspect --json", "commitlog/00000000000000000000", `"kind":"commit log"`},
		{"inspect", "consumequeue/Orders/0/00000000000000000000", "0 at 0: queueOffset=0 physicalOffset=0"},
		{"inspect --from 7", "consumequeue/Orders/0/00000000000000000000", "nothing stands in it"},
		{"inspect", "config/topics.json", "configuration, 2 bytes\n{}\n"},
		{"inspect --json", "config/topics.json", `"value":{}`},
		{"inspect", "checkpoint", "logicsPhysicalOffset=0\n"},
	} {
		args := append([]string{"store"}, strings.Fields(tc.args)...)
		code, stdout, stderr := call(append(args, filepath.Join(dir, tc.file))...)
		if code != 0 || !strings.Contains(stdout, tc.want) || stderr != "" {
			t.Errorf("%s %s: code %d\n%s%s", tc.args, tc.file, code, stdout, stderr)
		}
	}
	if code, stdout, stderr := call("store", "doctor", dir); code != 1 || !strings.Contains(stdout, "mappedFileSizeCommitLog=4096") || !strings.Contains(stdout, "VERDICT: NOT SAFE") {
		t.Errorf("doctor: code %d\n%s%s", code, stdout, stderr)
	}
	other := dataDir(t)
	if code, stdout, stderr := call("store", "diff", dir, other); code != 0 || !strings.HasSuffix(stdout, "the same\n") || stderr != "" {
		t.Errorf("diff: code %d\n%s%s", code, stdout, stderr)
	}
	if err := os.Remove(filepath.Join(other, "consumequeue/Orders/0/00000000000000000000")); err != nil {
		t.Fatal(err)
	}
	if code, stdout, stderr := call("store", "diff", dir, other); code != 1 || !strings.Contains(stdout, "queue Orders/0\n  A: 0 to 1\n  B: (nothing)") || stderr != "they differ\n" {
		t.Errorf("diff: code %d\n%s%s", code, stdout, stderr)
	}
	for args, want := range map[string]string{"--topics": "{}\n", "--all --compact": `{"topics":{}}`} {
		if code, stdout, stderr := call(append(append([]string{"store", "export"}, strings.Fields(args)...), dir)...); code != 0 || !strings.Contains(stdout, want) || stderr != "" {
			t.Errorf("export %s: code %d\n%s%s", args, code, stdout, stderr)
		}
	}
	// The entry of dataDir has not the tags code of its record.
	if code, stdout, stderr := call("store", "verify", dir); code != 1 || !strings.Contains(stdout, "queue.entry") || stderr != "1 findings\n" {
		t.Errorf("verify: code %d\n%s%s", code, stdout, stderr)
	}
	for args, want := range map[string]string{"verify": "expected DIR", "verify -x y": "Unrecognized", "verify nowhere": "nowhere", "verify --commitlog x -c nowhere y": "y", "doctor": "expected DIR", "doctor a b": "expected DIR", "doctor nowhere": "nowhere", "diff x": "expected A B", "diff x y": "x", "export x": "x", "export --groups " + dir: "subscriptionGroup", "export " + dir: "expected one of"} {
		if code, _, stderr := call(append([]string{"store"}, strings.Fields(args)...)...); code != 2 || !strings.Contains(stderr, want) {
			t.Errorf("%s: code %d, %s", args, code, stderr)
		}
	}
	for _, args := range []string{"inspect", "list", "dump", "dump --topic Orders", "verify"} {
		_, stdout, _ := call(append(append([]string{"store"}, strings.Fields(args+" --json")...), dir)...)
		var v map[string]any
		if err := json.Unmarshal([]byte(stdout), &v); err != nil {
			t.Errorf("%s --json: %v\n%s", args, err, stdout)
		}
	}
	if code, _, stderr := call("store", "dump", "--topic", "Orders", "--queue", "7", dir); code != 1 || !strings.Contains(stderr, "no queue 7") {
		t.Errorf("a queue that is not there: code %d, %s", code, stderr)
	}
	if code, _, stderr := call("store", "config", "nothing.json", dir); code != 1 || stderr == "" {
		t.Errorf("a file that is not there: code %d, %s", code, stderr)
	}
}
