package broker

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"apogee/internal/clock"
	"apogee/remoting/code"
	"apogee/remoting/header"
)

// A static topic of a Java broker: its logical queue 1 is queue 0 here, the other one is somewhere else.
const staticMapping = `{"dataVersion":{"counter":1,"stateVersion":0,"timestamp":1},"topicQueueMappingInfoMap":{"Static":{"bname":"b","currIdMap":{1:0},` +
	`"dirty":false,"epoch":1,"hostedQueues":{1:[{"bname":"b","endOffset":-1,"gen":0,"logicOffset":0,"queueId":0,"startOffset":0,"timeOfEnd":-1,` +
	`"timeOfStart":-1}]},"scope":"__global__","topic":"Static","totalQueues":2}}}`

// The directory of a broker with static topics is served by the queues that are in it, and the mapping is left to the broker that made it.
func TestStaticTopicsAreServedByTheirQueues(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "config", "topicQueueMapping.json")
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	start := func() (*node, string) {
		var log bytes.Buffer
		n := startBroker(t, newLoggingBroker(t, dir, "", clock.Now, slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))))
		return n, log.String()
	}
	for _, text := range []string{staticMapping, staticMapping[:40]} {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		n, log := start()
		if want := map[bool]string{true: "Static", false: "topicQueueMapping.json"}[text == staticMapping]; !strings.Contains(log, want) {
			t.Errorf("nothing is said of %s: %s", want, log)
		}
		n.makeTopic("Static")
		n.send("Static", "m")
		n.call(code.Success, code.GetMaxOffset, &header.GetMaxOffsetRequest{Topic: "Static"}, nil)
		n.stop()
		if got, err := os.ReadFile(name); err != nil || string(got) != text {
			t.Errorf("the mapping was changed: %s, %v", got, err)
		}
	}
}
