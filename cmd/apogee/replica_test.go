package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"apogee/ha"
	"apogee/internal/testkit"
	"apogee/remoting"
	"apogee/remoting/code"
	"apogee/remoting/header"
)

func TestParseRate(t *testing.T) {
	for text, want := range map[string]int64{
		"": 0, "50MB/s": 50e6, "50mb": 50e6, " 1.5 GB/s": 15e8, "100": 100, "7B/s": 7, "3kb/S": 3000,
		"fast": -1, "0": -1, "-5MB/s": -1, "MB/s": -1, "1e30GB": -1, "NaN": -1,
	} {
		if got, err := parseRate(text); (err != nil) != (want < 0) || err == nil && got != want {
			t.Errorf("%q: %d, %v", text, got, err)
		}
	}
}

func TestProgress(t *testing.T) {
	now := time.UnixMilli(1_000_000_000)
	for want, c := range map[string]struct {
		s      ha.ClientStatus
		stored int64
	}{
		"":                                     {ha.ClientStatus{End: 5, MasterEnd: 5}, 0},
		"copied up to 1500, 0 B/s, 0 B behind": {ha.ClientStatus{Active: true, End: 1500, MasterEnd: 1200}, 0},
		"copied up to 1500, 2 KB/s, 1 MB behind, 8m20s to go, the last message is 1m30s old": {ha.ClientStatus{Active: true, End: 1500, MasterEnd: 1_001_500, PerSecond: 2000}, now.UnixMilli() - 90_000},
		"copied up to 7, 1.2 MB/s": {ha.ClientStatus{Active: true, End: 7, MasterEnd: -1, PerSecond: 1_200_000}, 0},
	} {
		if got := progress(&c.s, c.stored, now); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestRebuildNeedsASlave(t *testing.T) {
	dir := t.TempDir()
	conf := filepath.Join(dir, "broker.conf")
	if err := os.WriteFile(conf, []byte("brokerName=b\nbrokerClusterName=c\nstorePathRootDir="+dir+"/store\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"-c", conf}, {"-c", conf, "--master", "127.0.0.1:1"}, {"-c", conf, "--limit", "soon"}} {
		var out, errs strings.Builder
		if code := run(append([]string{"apogee", "replica", "rebuild"}, args...), &out, &errs); code == 0 {
			t.Errorf("%v: %s%s", args, out.String(), errs.String())
		}
	}
}

// TestRebuildKeepsToItsLimit copies the log of a running master; no second has more bytes than the limit, by the copy's own account.
func TestRebuildKeepsToItsLimit(t *testing.T) {
	dir := t.TempDir()
	master, slave := filepath.Join(dir, "master"), filepath.Join(dir, "slave")
	m, err := process(t, dir, "boot success", "broker", "-n", "127.0.0.1:1", "-D", "brokerName=b", "-D", "bindAddress=127.0.0.1",
		"-D", "brokerIP1=127.0.0.1", "-D", "brokerIP2=127.0.0.1", "-D", "listenPort=0", "-D", small, "-D", "storePathRootDir="+master)
	if err != nil {
		t.Fatal(err)
	}
	_, addr, _ := strings.Cut(m.Output(), "The broker[b, ")
	addr, _, _ = strings.Cut(addr, "]")
	client := remoting.NewClient(remoting.ClientOptions{})
	defer client.Close()
	call := func(what int32, h header.Encodable, text []byte) *remoting.Response {
		t.Helper()
		resp, err := client.Call(context.Background(), addr, remoting.Outgoing{Code: what, Header: h, Body: text})
		if err != nil || resp.Code != code.Success {
			t.Fatalf("request %d: %+v, %v", what, resp, err)
		}
		return resp
	}
	for range 40 {
		call(code.SendMessage, &header.SendMessageRequest{
			ProducerGroup: "P", Topic: "T", DefaultTopic: "TBW102", DefaultTopicQueueNums: 1, BornTimestamp: 1,
		}, bytes.Repeat([]byte("x"), 2500))
	}
	var info header.ExchangeBrokerHAInfoResponse
	if err := info.DecodeFields(call(code.ExchangeBrokerHAInfo, &header.ExchangeBrokerHAInfoRequest{}, nil).Fields); err != nil {
		t.Fatal(err)
	}
	conf := filepath.Join(dir, "slave.conf")
	text := "brokerName=b\nbrokerId=1\nbrokerRole=SLAVE\n" + small + "\nstorePathRootDir=" + slave + "\n"
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	bin, err := testkit.Binary()
	if err != nil {
		t.Fatal(err)
	}
	const limit = 30_000
	rebuild := exec.Command(bin, "replica", "rebuild", "-c", conf, "--master", info.MasterHAAddress, "--limit", fmt.Sprintf("%dB/s", limit))
	rebuild.Env = []string{"HOME=" + dir}
	out, err := rebuild.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var end, busiest int64
	at := int64(-1)
	for line := range strings.Lines(string(out)) {
		var to int64
		if n, _ := fmt.Sscanf(line, "copied up to %d,", &to); n == 1 {
			if to < at {
				t.Errorf("%d after %d", to, at)
			}
			at = to
		}
		_, _ = fmt.Sscanf(line, "the log is here up to %d, with %d bytes in the busiest second", &end, &busiest)
	}
	if end < 40*2500 || busiest <= 0 || busiest > limit || at < 0 {
		t.Errorf("a log of %d bytes, %d of them in the busiest second, the last line of progress said %d:\n%s", end, busiest, at, out)
	}
	if err := m.Stop(); err != nil {
		t.Error(err)
	}
	var logs [2][]byte
	for i, store := range []string{master, slave} {
		if logs[i], err = os.ReadFile(filepath.Join(store, "commitlog", strings.Repeat("0", 20))); err != nil {
			t.Fatal(err)
		}
	}
	if end > int64(len(logs[0])) || !bytes.Equal(logs[0][:end], logs[1][:end]) {
		t.Error("the logs differ")
	}
}
