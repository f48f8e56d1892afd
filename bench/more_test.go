package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"apogee/compat/body"
	"apogee/compat/fastjson"
)

// listener answers every request as the function says, and keeps what it saw by code.
type listener struct {
	net.Listener
	answer func(code int) int
	mu     sync.Mutex
	seen   map[int][]string // bodies, or headers where there is none
	open   map[net.Conn]bool
	most   int
}

func listen(t *testing.T, answer func(code int) int) *listener {
	t.Helper()
	nl, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &listener{Listener: nl, answer: answer, seen: map[int][]string{}, open: map[net.Conn]bool{}}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := nl.Accept()
			if err != nil {
				return
			}
			l.mu.Lock()
			l.open[c] = true
			l.most = max(l.most, len(l.open))
			l.mu.Unlock()
			all.Go(func() { l.serve(c) })
		}
	})
	t.Cleanup(func() {
		_ = nl.Close()
		l.mu.Lock()
		for c := range l.open {
			_ = c.Close()
		}
		l.mu.Unlock()
		all.Wait()
	})
	return l
}

func (l *listener) serve(c net.Conn) {
	defer func() {
		_ = c.Close()
		l.mu.Lock()
		delete(l.open, c)
		l.mu.Unlock()
	}()
	in := &conn{Conn: c, buf: make([]byte, 4096)}
	for {
		req, ok, err := in.next()
		if err != nil {
			return
		}
		if !ok {
			if in.fill() != nil {
				return
			}
			continue
		}
		text := string(req.body)
		if text == "" {
			text = string(req.header)
		}
		l.mu.Lock()
		l.seen[req.code] = append(l.seen[req.code], text)
		l.mu.Unlock()
		head := fmt.Sprintf(`{"code":%d,"flag":1,"opaque":%d}`, l.answer(req.code), req.slot+opaqueBase)
		out := []byte{0, 0, 0, byte(4 + len(head)), 0, 0, 0, byte(len(head))}
		if _, err := c.Write(append(out, head...)); err != nil {
			return
		}
	}
}

func (l *listener) bodies(code int) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.seen[code]...)
}

func success(int) int { return 0 }

func moreOptions(l *listener) Options {
	return Options{
		Broker: l.Addr().String(), PID: os.Getpid(), Topic: "T", Topics: 3, Queues: 4, Create: true, Group: "g", Connections: 2, InFlight: 8, Wait: true,
		Duration: time.Minute, Count: 200,
	}
}

func TestRoute(t *testing.T) {
	l := listen(t, success)
	res, err := Route(t.Context(), moreOptions(l))
	if err != nil {
		t.Fatal(err)
	}
	if res.Messages < 200 || res.Failed() > 0 || res.Send.Count != res.Messages || res.BrokerPID != os.Getpid() {
		t.Errorf("result %+v", res)
	}
	registered := l.bodies(codeRegisterBroker)
	if len(registered) != 1 {
		t.Fatalf("%d registrations", len(registered))
	}
	b, err := body.DecodeRegisterBroker([]byte(registered[0]), false, 513)
	if err != nil || len(b.TopicConfigSerializeWrapper.TopicConfigTable) != 3 {
		t.Fatalf("registered %s, %v", registered[0], err)
	}
	asked := map[string]bool{}
	for _, head := range l.bodies(codeGetRoute) {
		for name := range b.TopicConfigSerializeWrapper.TopicConfigTable {
			if strings.Contains(head, `"topic":"`+name+`"`) {
				asked[name] = true
			}
		}
	}
	if len(asked) != 3 {
		t.Errorf("asked for %v of 3 topics", asked)
	}
}

func TestRouteRefusals(t *testing.T) {
	l := listen(t, func(int) int { return 1 })
	if _, err := Route(t.Context(), moreOptions(l)); err == nil || !strings.Contains(err.Error(), "register 3 topics") {
		t.Errorf("a registration that is refused: %v", err)
	}
	o := moreOptions(l)
	o.Create = false
	res, err := Route(t.Context(), Options{})
	if err == nil || res.Messages > 0 {
		t.Errorf("no options at all: %+v, %v", res, err)
	}
	o.Duration, o.Count = 20*time.Millisecond, 0
	if res, err := Route(t.Context(), o); err != nil || res.Messages > 0 || res.Failed() == 0 {
		t.Errorf("routes that are not there: %+v, %v", res, err)
	}
}

func TestIdle(t *testing.T) {
	l := listen(t, success)
	var progress bytes.Buffer
	res, err := Idle(t.Context(), IdleOptions{
		Broker: l.Addr().String(), PID: os.Getpid(), Connections: 40, Group: "g", Every: time.Millisecond, Hold: 100 * time.Millisecond, Progress: &progress,
	})
	if err != nil {
		t.Fatal(err)
	}
	if res.Held != 40 || res.Alive != 40 || res.Beats < 40 || res.FirstErr != "" || res.Before.Anonymous == 0 || res.After.Anonymous == 0 {
		t.Errorf("result %+v", res)
	}
	ids := map[string]bool{}
	for _, text := range l.bodies(codeHeartbeat) {
		var hb body.HeartbeatData
		if err := fastjson.Unmarshal([]byte(text), &hb); err != nil || len(hb.ProducerDataSet) != 1 || hb.ProducerDataSet[0].GroupName != "g" {
			t.Fatalf("heartbeat %s, %v", text, err)
		}
		ids[hb.ClientID] = true
	}
	if len(ids) != 41 { // and the one before
		t.Errorf("%d clients, want 41", len(ids))
	}
	if l.most < 40 {
		t.Errorf("%d connections at once, want 40", l.most)
	}
	var out bytes.Buffer
	if err := res.Print(&out); err != nil || !strings.Contains(out.String(), "40 of 40 held, 40 alive") {
		t.Errorf("%q, %v", out.String(), err)
	}
}

func TestIdleSaysWhatIsNotHeld(t *testing.T) {
	var n int
	l := listen(t, success)
	l.answer = func(int) int { // under the lock of nobody: connections are made one by one up to here
		l.mu.Lock()
		defer l.mu.Unlock()
		if n++; n > 20 {
			return 2
		}
		return 0
	}
	res, err := Idle(t.Context(), IdleOptions{Broker: l.Addr().String(), PID: os.Getpid(), Connections: 100, Group: "g", Every: time.Hour})
	if err != nil || res.Wanted != 100 || res.Held != 19 || res.Alive != 0 || !strings.Contains(res.FirstErr, "code 2") {
		t.Errorf("result %+v, %v", res, err)
	}
	if _, err := Idle(t.Context(), IdleOptions{Broker: "127.0.0.1:1", Connections: 1, Every: time.Hour}); err == nil {
		t.Error("nobody listens, and there is no error")
	}
	if _, err := Idle(t.Context(), IdleOptions{}); err == nil {
		t.Error("no options, and no error")
	}
}

func TestChurn(t *testing.T) {
	for code, run := range map[int]runner{codeHeartbeat: Churn, codeSendV2: ChurnSend} {
		l := listen(t, success)
		o := moreOptions(l)
		o.Count, o.Topics = 50, 1
		res, err := run(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		if res.Messages < 50 || res.Messages > int64(len(l.bodies(code))) || res.Send.Count != res.Messages || res.Failed() > 0 {
			t.Errorf("code %d: %d requests, result %+v", code, len(l.bodies(code)), res)
		}
	}
}

func TestChurnEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	l := listen(t, func(int) int { return 1 })
	o := moreOptions(l)
	if res, err := Churn(ctx, o); err == nil || res.Messages > 0 {
		t.Errorf("cancelled: %+v, %v", res, err)
	}
	o.Duration, o.Count = 20*time.Millisecond, 0
	if res, err := Churn(t.Context(), o); err != nil || res.Messages > 0 || res.Failed() == 0 {
		t.Errorf("refused: %+v, %v", res, err)
	}
	_ = l.Close()
	if _, err := Churn(t.Context(), o); err == nil {
		t.Error("nobody listens, and there is no error")
	}
}

func TestCreateTopics(t *testing.T) {
	l := listen(t, success)
	o := moreOptions(l)
	o.Count, o.Fill = 5, 100
	res, err := CreateTopics(t.Context(), o)
	if err != nil || res.Messages != 5 || res.Send.Count != 5 {
		t.Fatalf("result %+v, %v", res, err)
	}
	heads := l.bodies(codeCreateTopic)
	if len(heads) != 5 || !strings.Contains(heads[0], `"T_00100"`) || !strings.Contains(heads[4], `"T_00104"`) {
		t.Errorf("requests %q", heads)
	}
	l.answer = func(int) int { return 1 }
	if _, err := CreateTopics(t.Context(), o); err == nil {
		t.Error("a refusal is no error")
	}
}

func TestWriteTopics(t *testing.T) {
	dir := t.TempDir()
	if err := WriteTopics(dir, "T", 3, 4); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "config", "topics.json"))
	if err != nil {
		t.Fatal(err)
	}
	// Read by a reader that is not ours, as Java's is not.
	var w struct {
		DataVersion      struct{ Counter, Timestamp int64 }
		TopicConfigTable map[string]struct {
			TopicName, TopicFilterType          string
			ReadQueueNums, WriteQueueNums, Perm int
		}
	}
	if err := json.Unmarshal(text, &w); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	got := w.TopicConfigTable["T_00002"]
	if len(w.TopicConfigTable) != 3 || got.TopicName != "T_00002" || got.ReadQueueNums != 4 || got.WriteQueueNums != 4 || got.Perm != 6 ||
		got.TopicFilterType != "SINGLE_TAG" || w.DataVersion.Timestamp == 0 {
		t.Errorf("written:\n%s", text)
	}
	if err := WriteTopics(filepath.Join(dir, "config", "topics.json"), "T", 1, 1); err == nil {
		t.Error("written into a file that is no folder")
	}
}
