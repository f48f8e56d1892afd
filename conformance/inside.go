package conformance

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"apogee/internal/testkit"
	"apogee/remoting/code"
)

// Some cases need ports that are fixed: the official examples dial 127.0.0.1:9876. They run in namespaces of their own: this program
// starts itself again there, does one task, and prints its result.

// insideTasks are what may be asked for.
var insideTasks = map[string]func(t *T){
	"examples": examplesInside,
	"samples":  samplesInside,
	"disk":     diskInside,
	"trace":    traceInside,
}

const (
	insideTask   = "APOGEE_CONFORMANCE_INSIDE"
	insideTarget = "APOGEE_CONFORMANCE_TARGET"
	insideDir    = "APOGEE_CONFORMANCE_DIR"
	insideMark   = "conformance-result "
)

// Inside does the task that another run of this program asks for, and ends the process; without one it returns. Every main and
// TestMain that runs cases calls it first.
func Inside() {
	task := insideTasks[os.Getenv(insideTask)]
	if task == nil {
		return
	}
	Quiet()
	target, err := NewTarget(os.Getenv(insideTarget))
	r := Result{Status: Fail}
	if err != nil {
		r.Reason = err.Error()
	} else {
		t := &T{Target: target, serial: "in", dir: os.Getenv(insideDir)}
		r = t.run(Case{Run: task, Limit: 4 * time.Minute})
	}
	b, _ := json.Marshal(r)
	fmt.Printf("\n%s%s\n", insideMark, b)
	os.Exit(0)
}

// NewTarget is a target by its name.
func NewTarget(name string) (testkit.Target, error) {
	switch name {
	case "apogee":
		bin, err := testkit.Binary()
		return testkit.Apogee{Bin: bin}, err
	case "java":
		return testkit.FindJava()
	}
	return nil, fmt.Errorf("no target %q: apogee or java", name)
}

// isolated runs a task in namespaces of its own, with loopback only.
func (t *T) isolated(task string, env ...string) {
	for _, tool := range []string{"unshare", "ip"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("no %s here: namespaces are needed for fixed ports, as Linux has them", tool)
		}
	}
	flags := []string{"-n", "-p", "-f", "--mount-proc"}
	if os.Getuid() != 0 {
		flags = append([]string{"-r"}, flags...)
	}
	if out, err := exec.Command("unshare", append(flags, "true")...).CombinedOutput(); err != nil {
		t.Skipf("namespaces are not permitted here: %v %s", err, out)
	}
	self, err := os.Executable()
	t.Must(err, "find this program")
	ctx, cancel := context.WithDeadline(context.Background(), t.ctxEnd)
	defer cancel()
	cmd := exec.CommandContext(ctx, "unshare", append(flags, "sh", "-c", `ip link set lo up && "$0"; exit $?`, self)...)
	bin := ""
	if a, ok := t.needTarget().(testkit.Apogee); ok {
		bin = a.Bin
	}
	cmd.Env = append(append(os.Environ(), insideTask+"="+task, insideTarget+"="+t.Target.Name(), insideDir+"="+t.tempDir(), "APOGEE_BIN="+bin), env...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = time.Second
	err = cmd.Run()
	_, text, found := strings.Cut(out.String(), insideMark)
	if !found {
		t.Fatalf("%s in its namespace: %v, no result: %.1000s", task, err, out.String())
	}
	var r Result
	t.Must(json.Unmarshal([]byte(strings.TrimSpace(text)), &r), "result of %s: %s", task, text)
	switch r.Status {
	case Fail:
		t.Fatalf("%s", r.Reason)
	case Skip:
		t.Skipf("%s", r.Reason)
	}
}

func goEnv(key string) string {
	out, err := exec.Command("go", "env", key).Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}

// diskPressure fills a small file system, which only a mount namespace can have.
func diskPressure(t *T) { t.isolated("disk", "ORACLE_CACHE="+oracleCache()) }

func diskInside(t *T) {
	dir := filepath.Join(t.tempDir(), "small-disk")
	t.Must(os.MkdirAll(dir, 0o755), "make a folder")
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=256m", "tmpfs", dir).CombinedOutput(); err != nil {
		t.Skipf("no file system can be mounted here: %v %s", err, out)
	}
	conf := baseConf("full-a").With(testkit.Props{"mappedFileSizeCommitLog": "4194304", "diskMaxUsedSpaceRatio": "75", "maxHashSlotNum": "500", "maxIndexNum": "2000"})
	s, err := t.Target.Broker(dir, "127.0.0.1:1", conf)
	t.Must(err, "start a broker on it")
	t.Cleanup(func() { _ = s.Stop() })
	b := t.dial(s.Addr())
	topic := t.Name("Full")
	b.topic(topic, topicConf{})
	b.send(message{topic: topic, body: []byte("while there is room")})
	var fs syscall.Statfs_t
	t.Must(syscall.Statfs(dir, &fs), "look at the file system")
	free := int64(fs.Bfree)*fs.Bsize - 20<<20 // above 90 %, with room for what the broker still writes
	filler := filepath.Join(dir, "filler")
	f, err := os.Create(filler)
	t.Must(err, "make a filler")
	t.Must(syscall.Fallocate(int(f.Fd()), 0, 0, free), "fill the file system")
	t.Must(f.Close(), "close the filler")
	t.Until(100*time.Second, "sends refused above the warning level", func() (bool, string) {
		f := b.trySend(message{topic: topic})
		return f.Code == int(code.ServiceNotAvailable), f.String()
	})
	refused := b.trySend(message{topic: topic}).Remark
	if !strings.Contains(refused, "CL:") {
		t.Errorf("remark %q does not tell how full the disk is", refused)
	}
	// What is there can be read, the broker lives, and with room again it takes messages.
	b.ok(code.GetBrokerRuntimeInfo, nil, nil)
	t.Must(os.Remove(filler), "make room")
	t.Until(60*time.Second, "sends taken again", func() (bool, string) {
		f := b.trySend(message{topic: topic, body: []byte("with room again")})
		return f.Code == int(code.Success), f.String()
	})
	recs := b.await(topic, 0, 2, 10*time.Second)
	Equal(t, "first message", string(recs[0].Body), "while there is room")
}

// samples starts the sample configurations as they are, on their own ports.
func samples(t *T) {
	if t.needTarget().Name() != "apogee" {
		t.Skipf("the samples are Apogee's; run against Apogee")
	}
	t.isolated("samples")
}

func samplesInside(t *T) {
	root, err := testkit.Root()
	t.Must(err, "find the samples")
	bin := t.Target.(testkit.Apogee).Bin
	start := func(args ...string) *testkit.Process {
		home := filepath.Join(t.tempDir(), t.Name("home"))
		t.Must(os.MkdirAll(home, 0o755), "make a folder")
		p, err := testkit.Start(testkit.Command{
			Path: bin, Args: args, Dir: home, Ready: "boot success",
			Env: []string{"HOME=" + home, "ROCKETMQ_HOME=" + root, "NAMESRV_ADDR=127.0.0.1:9876"},
		})
		t.Must(err, "start %v", args)
		return p
	}
	ns := start("namesrv", "-c", filepath.Join(root, "conf", "namesrv.conf"))
	t.Cleanup(ns.Kill)
	found := 0
	for _, file := range []string{
		"broker.conf", "2m-noslave/broker-a.properties", "2m-noslave/broker-b.properties", "2m-2s-async/broker-a.properties",
		"2m-2s-sync/broker-b.properties",
	} {
		path := filepath.Join(root, "conf", file)
		if _, err := os.Stat(path); err != nil {
			t.Errorf("sample %s: %v", file, err)
			continue
		}
		p := start("broker", "-c", path)
		text, err := os.ReadFile(path)
		t.Must(err, "read %s", file)
		for line := range strings.Lines(string(text)) {
			if key, name, _ := strings.Cut(line, "="); strings.TrimSpace(key) == "brokerName" {
				name = strings.TrimSpace(name)
				if !strings.Contains(p.Output(), "The broker["+name) {
					t.Errorf("%s: no %q in %.300s", file, "The broker["+name, p.Output())
				}
				found++
			}
		}
		t.Must(p.Stop(), "stop the broker of %s", file)
	}
	Equal(t, "samples with a broker name", found, 5)
}
