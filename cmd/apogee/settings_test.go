package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// value is what -p prints for key.
func value(t *testing.T, printed, key string) string {
	t.Helper()
	var found []string
	for line := range strings.Lines(printed) {
		if v, ok := strings.CutPrefix(line, key+"="); ok {
			found = append(found, strings.TrimSuffix(v, "\n"))
		}
	}
	if len(found) != 1 {
		t.Errorf("%s is printed %d times", key, len(found))
		return ""
	}
	return found[0]
}

func TestPrintedSettings(t *testing.T) {
	t.Setenv("HOME", "/home/somebody")
	t.Setenv("NAMESRV_ADDR", "")
	t.Setenv("JAVA_OPT_EXT", "-Xmx1g -Drocketmq.namesrv.addr=192.0.2.3:9876 -DfileReservedTime=5")
	tls := write(t, "tls.properties", "tls.server.mode=enforcing\ntls.server.need.client.auth=require\nlistenPort=1\n")
	conf := write(t, "broker.conf", "brokerClusterName=C\nlistenPort=20911\nbrokerRole=SYNC_MASTER\nbrokerId=7\ndeleteWhen=06\nenablePopLog=true\nmy.key=x\n"+
		"tls.config.file="+tls+"\n")

	code, out, stderr := call("broker", "-c", conf, "-D", "deleteWhen=05", "-Dtls.server.need.client.auth=optional", "-p")
	if code != 0 || stderr != "" {
		t.Fatalf("code %d, %s", code, stderr)
	}
	for key, want := range map[string]string{
		"brokerClusterName": "C", "listenPort": "20911", "haListenPort": "20912", "brokerRole": "SYNC_MASTER", "flushDiskType": "ASYNC_FLUSH",
		"brokerId": "0", "enablePopLog": "true", "my.key": "x", "deleteWhen": "05", "fileReservedTime": "5",
		"namesrvAddr": "192.0.2.3:9876", "storePathRootDir": "/home/somebody/store", "brokerConfigPath": conf,
		"tls.server.mode": "enforcing", "tls.server.need.client.auth": "require", "flushConsumerOffsetInterval": "5000",
	} {
		if got := value(t, out, key); got != want {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
	}

	_, out, _ = call("broker", "-c", conf, "-n", "192.0.2.4:9876", "-m")
	if got := value(t, out, "namesrvAddr"); got != "192.0.2.4:9876" {
		t.Errorf("-n: %q", got)
	}
	if strings.Contains(out, "deleteFileBatchMax=") == false || strings.Contains(out, "my.key") {
		t.Errorf("-m prints\n%s", out)
	}

	code, out, stderr = call("namesrv", "-D", "listenPort=19876", "-p")
	if code != 0 || stderr != "" {
		t.Fatalf("code %d, %s", code, stderr)
	}
	for key, want := range map[string]string{
		"listenPort": "19876", "kvConfigPath": "/home/somebody/namesrv/kvConfig.json", "scanNotActiveBrokerInterval": "5000",
	} {
		if got := value(t, out, key); got != want {
			t.Errorf("name server: %s is %q, want %q", key, got, want)
		}
	}
}

// TestRefusedSettings runs what must not start; each case ends before anything is opened.
func TestRefusedSettings(t *testing.T) {
	t.Setenv("HOME", t.TempDir())
	t.Setenv("NAMESRV_ADDR", "")
	for _, tc := range []struct {
		name, conf string
		args       string
		code       int
		stderr     string
	}{
		{"unreadable number", "\n\nfileReservedTime=3d\n", "broker", 255, "a.conf:3: fileReservedTime=3d: unreadable value: allowed is a whole number"},
		{"two at once", "listenPort=x\nautoCreateTopicEnable=1\n", "broker", 255, "a.conf:2: autoCreateTopicEnable=1: unreadable value: allowed are true and false"},
		{"of the name server", "listenPort=x\n", "namesrv", 255, "a.conf:1: listenPort=x"},
		{"broken escape", "a=\\u1\n", "broker", 255, "a.conf:1: "},
		{"name server list", "namesrvAddr=here\n", "broker", 253, "The Name Server Address[here] illegal"},
		{"name server list of -n", "", "broker -n here", 253, "The Name Server Address[here] illegal"},
		{"slave without an id", "brokerRole=SLAVE\nbrokerId=0\n", "broker", 253, "brokerId=0"},
		{"two modes", "enableControllerMode=true\nenableDLegerCommitLog=true\n", "broker", 252, "exclude each other"},
		{"TLS file", "tls.config.file=/does/not/exist\n", "broker", 255, "tls.config.file"},
		{"TLS key", "tls.test.mode.enable=false\ntls.server.certPath=/does/not/exist\ntls.server.keyPath=/x\n", "broker", 255, "TLS: open /does/not/exist"},
		{"argument", "", "broker now", 1, "unexpected argument: now"},
		{"log level", "", "broker --log-level loud", 255, `log-level "loud"`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			conf := write(t, "a.conf", tc.conf)
			args := strings.Fields(tc.args)
			code, stdout, stderr := call(append([]string{args[0], "-c", conf}, args[1:]...)...)
			if code != tc.code || !strings.Contains(stderr, tc.stderr) {
				t.Errorf("code %d, want %d; stderr %s", code, tc.code, stderr)
			}
			if strings.Contains(stdout, "boot success") {
				t.Error(stdout)
			}
		})
	}
	if code, _, stderr := call("broker", "-c", "/does/not/exist"); code != 255 || !strings.Contains(stderr, "/does/not/exist") {
		t.Errorf("no file: code %d, %s", code, stderr)
	}
}
