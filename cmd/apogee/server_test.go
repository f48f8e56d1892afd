package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"apogee/internal/testkit"
)

func TestMain(m *testing.M) {
	code := m.Run()
	testkit.RemoveBuilt()
	os.Exit(code)
}

// process starts the real binary; it writes nothing outside dir.
func process(t *testing.T, dir, ready string, args ...string) (*testkit.Process, error) {
	t.Helper()
	bin, err := testkit.Binary()
	if err != nil {
		t.Fatal(err)
	}
	p, err := testkit.Start(testkit.Command{
		Path: bin, Args: args, Dir: dir, Ready: ready,
		Env: []string{"HOME=" + dir, "NAMESRV_ADDR=", "APOGEE_RUN_DIR=" + filepath.Join(dir, "run")},
	})
	if err == nil {
		t.Cleanup(p.Kill)
	}
	return p, err
}

const small = "mappedFileSizeCommitLog=1048576"

func TestStandaloneFromStartToEnd(t *testing.T) {
	dir := t.TempDir()
	args := []string{
		"standalone", "--data", "data", "--namesrv-port", "0", "--broker-port", "0", "-D", small, "-D", "enablePopLog=true",
	}
	// What a process that was killed has left.
	stale := filepath.Join(dir, "run", "broker.999999999.pid")
	if err := errors.Join(os.Mkdir(filepath.Dir(stale), 0o755), os.WriteFile(stale, nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	p, err := process(t, dir, "Send a first message", append(args, "--log-dir", "logs", "--cpu-profile", "cpu.pprof")...)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"The Name Server boot success. serializeType=JSON, address 127.0.0.1:", "The broker[broker-a, 127.0.0.1:",
		"] boot success. serializeType=JSON and name server is 127.0.0.1:", "key=enablePopLog",
	} {
		if strings.Count(p.Output(), want) != 1 {
			t.Errorf("%q is not said once in\n%s", want, p.Output())
		}
	}
	pidFile := filepath.Join(dir, "run", "standalone."+strconv.Itoa(p.PID())+".pid")
	if text, err := os.ReadFile(pidFile); err != nil || strings.TrimSpace(string(text)) != strconv.Itoa(p.PID()) {
		t.Errorf("pid file: %q, %v", text, err)
	}

	if _, err := os.Stat(stale); err == nil {
		t.Error("the pid file of a process that is gone is still there")
	}

	// A second one on the same data must not start, and must leave the first alone.
	second, err := process(t, dir, "boot success", args...)
	if err == nil {
		<-second.Ended()
	}
	if err == nil || !strings.Contains(err.Error(), "lock") {
		t.Errorf("a second server on the directory: %v", err)
	}

	// The directory can be looked into meanwhile.
	code, out, stderr := call("store", "inspect", "--json", filepath.Join(dir, "data", "store"))
	var sum struct {
		Abort    bool   `json:"abort"`
		AbortPID string `json:"abortPid"`
	}
	if err := json.Unmarshal([]byte(out), &sum); err != nil || code != 0 || !sum.Abort || sum.AbortPID != strconv.Itoa(p.PID()) {
		t.Errorf("inspect: code %d, %s%s, %v", code, out, stderr, err)
	}

	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	for _, gone := range []string{pidFile, filepath.Join(dir, "data", "store", "abort")} {
		if _, err := os.Stat(gone); err == nil {
			t.Errorf("%s is still there", gone)
		}
	}
	if text, err := os.ReadFile(filepath.Join(dir, "logs", "standalone.log")); err != nil || !strings.Contains(string(text), "msg=stopped") {
		t.Errorf("log: %v\n%s", err, text)
	}
	// Profiles are compressed; how much is in it is up to the machine.
	if b, err := os.ReadFile(filepath.Join(dir, "cpu.pprof")); err != nil || !bytes.HasPrefix(b, []byte{0x1f, 0x8b}) {
		t.Errorf("profile: %d bytes, %v", len(b), err)
	}
	if _, err := os.Stat(filepath.Join(dir, "store")); err == nil {
		t.Error("something was written outside the data folder")
	}

	again, err := process(t, dir, "The broker[", args...)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Stop(); err != nil {
		t.Error(err)
	}
}

func TestNameServerAndBrokerAsProcesses(t *testing.T) {
	dir := t.TempDir()
	ns, err := process(t, dir, "boot success", "namesrv", "-D", "bindAddress=127.0.0.1", "-D", "listenPort=0")
	if err != nil {
		t.Fatal(err)
	}
	_, addr, ok := strings.Cut(ns.Output(), "address ")
	if !ok {
		t.Fatal(ns.Output())
	}
	addr, _, _ = strings.Cut(addr, "\n")
	conf := filepath.Join(dir, "broker.conf")
	text := "brokerName = one\nbindAddress=127.0.0.1\nbrokerIP1=127.0.0.1\nlistenPort=0\n" + small + "\nnamesrvAddr=127.0.0.1:1\nlistenPrt=5\n"
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	b, err := process(t, dir, "boot success", "broker", "-c", conf, "-n", addr)
	if err != nil {
		t.Fatal(err)
	}
	if out := b.Output(); !strings.Contains(out, "The broker[one, 127.0.0.1:") || !strings.Contains(out, "and name server is "+addr+"\n") ||
		!strings.Contains(out, conf+":7") || !strings.Contains(out, "did you mean listenPort?") {
		t.Error(out)
	}
	if err := b.Stop(); err != nil {
		t.Error(err)
	}
	if err := ns.Stop(); err != nil {
		t.Error(err)
	}
	if out := ns.Output(); !strings.Contains(out, "broker=one") {
		t.Errorf("the broker did not register:\n%s", out)
	}
}
