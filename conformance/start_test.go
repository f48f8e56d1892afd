package conformance

import (
	"path/filepath"
	"testing"
	"time"

	"apogee/bench"
	"apogee/internal/testkit"
	"apogee/remoting/code"
)

// TestStartAndIdleMemory prints the time from the start of an empty standalone to its first acknowledged send, and its memory when idle.
// The bounds only catch what is wrong by far: the figures belong to bin/bench-vs-java, on an idle machine.
func TestStartAndIdleMemory(t *testing.T) {
	bin := needBinary(t).Bin
	nsPort, err := testkit.HoldPort()
	if err != nil {
		t.Fatal(err)
	}
	defer nsPort.Release()
	ports, err := testkit.HoldBrokerPorts()
	if err != nil {
		t.Fatal(err)
	}
	defer ports.Release()
	dir := t.TempDir()
	began := time.Now()
	p, err := testkit.Start(testkit.Command{Path: bin, Dir: dir, Env: []string{"HOME=" + dir, "APOGEE_RUN_DIR=" + dir}, Args: []string{
		"standalone", "--data", filepath.Join(dir, "data"), "--namesrv-port", nsPort.Text(), "--broker-port", ports.Text(),
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Kill()
	if err := testkit.WaitPort(testkit.Addr(ports.Port()), 20*time.Second); err != nil {
		t.Fatalf("%v\n%s", err, p.Output())
	}
	c := dialTest(t, testkit.Addr(ports.Port()))
	defer c.Close()
	m := message{topic: "FirstTopic"}
	f, err := c.Call(int(code.SendMessageV2), m.short(), []byte("first"))
	if err != nil || f.Code != 0 {
		t.Fatalf("first send: %v, %v", f, err)
	}
	took := time.Since(began)
	memory, err := bench.MemoryOf(p.PID())
	if err != nil {
		t.Skipf("SKIPPED, neither memory nor start were checked: %v; it needs /proc, as on Linux", err)
	}
	t.Logf("start to first acknowledged send: %v; idle memory: %.1f MiB resident, %.1f MiB anonymous", took.Round(time.Millisecond),
		float64(memory.Resident)/(1<<20), float64(memory.Anonymous)/(1<<20))
	if took > 10*time.Second || memory.Resident > 300<<20 {
		t.Errorf("far from what is owed (100 ms, 40 MiB)")
	}
	if err := p.Stop(); err != nil {
		t.Error(err)
	}
}
