package conformance

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"

	"apogee/internal/testkit"
)

const clientModule = "github.com/apache/rocketmq-client-go/v2"

// example is one program of the official client, built from the module as it is.
type example struct {
	path   string // below examples/
	want   string // in its output
	times  int    // how often
	topic  string // consumers: where messages are sent while it runs
	tag    string
	serves bool // it runs until it is killed
}

var examples = []example{
	{path: "producer/simple", want: "send message success", times: 10},
	{path: "producer/async", want: "send message success", times: 10},
	{path: "producer/batch", want: "send message success", times: 1},
	{path: "producer/tag", want: "send message success", times: 3},
	{path: "producer/delay", want: "send message success", times: 10},
	{path: "consumer/simple", want: "subscribe callback:", times: 3, topic: "test", serves: true},
	{path: "consumer/tag", want: "TAGS:TagC", times: 1, topic: "TopicTest", tag: "TagC", serves: true},
	{path: "consumer/orderly", want: "subscribe orderly callback:", times: 3, topic: "TopicTest", serves: true},
	{path: "consumer/broadcast", want: "subscribe callback:", times: 3, topic: "min", serves: true},
	{path: "consumer/strategy", want: "subscribe callback:", times: 3, topic: "TopicTest", serves: true},
	{path: "consumer/delay", want: " ms later", times: 3, topic: "TopicTest", serves: true},
	{path: "consumer/retry/concurrent", want: "ReconsumeTimes=2", times: 1, topic: "TopicTest", serves: true},
	{path: "consumer/retry/order", want: "subscribe orderly callback", times: 3, topic: "TopicTest", serves: true},
	{path: "consumer/pull/poll", want: "msgList:", times: 2, topic: "ns%test-topic", tag: "testPull", serves: true},
	{path: "consumer/pull/pull", want: "[pull message successfully]", times: 2, topic: "ns%test-topic", tag: "testPull", serves: true},
	{path: "consumer/pull/pull_from", want: "[pull message successfully]", times: 2, topic: "ns%test-topic", tag: "testPullFrom", serves: true},
}

// goExamples builds the official client's own examples from its module, unchanged, and runs them in a network namespace where the
// name server has the port that they dial.
func goExamples(t *T) {
	root, err := testkit.Root()
	t.Must(err, "find go.mod")
	cmd := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", clientModule)
	cmd.Dir = root
	out, err := cmd.Output()
	t.Must(err, "find the module of the official client")
	module := strings.TrimSpace(string(out))
	bin := filepath.Join(t.tempDir(), "examples")
	t.Must(os.MkdirAll(bin, 0o755), "make a folder")
	for _, e := range examples {
		build := exec.Command("go", "build", "-o", filepath.Join(bin, exampleName(e)), "./examples/"+e.path)
		build.Dir = module // the module is its own main module there, with its own go.sum
		if out, err := build.CombinedOutput(); err != nil {
			t.Skipf("example %s cannot be built: %v %.300s", e.path, err, out)
		}
	}
	t.isolated("examples", "HOME="+t.tempDir(), "GOCACHE="+goEnv("GOCACHE"), "GOMODCACHE="+goEnv("GOMODCACHE"), "ORACLE_CACHE="+oracleCache())
}

// oracleCache is where the oracle's jars are, wherever HOME points.
func oracleCache() string {
	if dir := os.Getenv("ORACLE_CACHE"); dir != "" {
		return dir
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	return filepath.Join(dir, "rocketmq-oracle")
}

func exampleName(e example) string { return strings.ReplaceAll(e.path, "/", "-") }

func examplesInside(t *T) {
	dir := t.tempDir()
	ns, err := t.Target.Namesrv(filepath.Join(dir, "ns"), testkit.Props{"listenPort": "9876"})
	t.Must(err, "start a name server on 9876")
	t.Cleanup(func() { _ = ns.Stop() })
	s, err := t.Target.Broker(filepath.Join(dir, "broker"), ns.Addr(), baseConf("broker-a").With(testkit.Props{"listenPort": "10911"}))
	t.Must(err, "start a broker on 10911")
	t.Cleanup(func() { _ = s.Stop() })
	c := &cluster{namesrv: ns.Addr(), broker: s.Addr(), brokerName: "broker-a"}
	t.Must(c.ready(), "registration")
	t.Must(serveRedis(t), "serve what pull_from stores")
	b := t.dial(s.Addr())
	for _, topic := range []string{"TopicTest", "min", "ns%test-topic"} {
		b.topic(topic, topicConf{read: 4})
	}
	for _, e := range examples {
		t.example(c, e)
	}
}

func (t *T) example(c *cluster, e example) {
	p, err := testkit.Start(testkit.Command{
		Path: filepath.Join(t.dir, "examples", exampleName(e)), Dir: t.dir,
		Env: []string{"ROCKETMQ_GO_LOG_LEVEL=fatal"},
	})
	t.Must(err, "start example %s", e.path)
	defer p.Kill()
	if !e.serves {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := p.WaitExit(ctx); err != nil {
			t.Errorf("example %s: %v", e.path, err)
		}
		if n := strings.Count(p.Output(), e.want); n != e.times {
			t.Errorf("example %s: %q came %d times, want %d: %.500s", e.path, e.want, n, e.times, p.Output())
		}
		return
	}
	send := t.producer(c, producer.WithRetry(2))
	// An orderly consumer that was killed keeps its locks for a minute.
	for end := time.Now().Add(80 * time.Second); strings.Count(p.Output(), e.want) < e.times; {
		if time.Now().After(end) {
			t.Errorf("example %s: %q came %d times, want %d: %.800s", e.path, e.want, strings.Count(p.Output(), e.want), e.times, p.Output())
			return
		}
		m := primitive.NewMessage(e.topic, []byte("for "+e.path))
		if e.tag != "" {
			m.WithTag(e.tag)
		}
		t.sendSync(send, m)
		select {
		case <-p.Ended():
			t.Errorf("example %s ended: %.500s", e.path, p.Output())
			return
		case <-time.After(200 * time.Millisecond): // messages at a human pace, as the example's reader would send them
		}
	}
	if out := p.Output(); strings.Contains(out, "panic:") {
		t.Errorf("example %s: %.500s", e.path, out)
	}
}

// serveRedis answers the two commands that the example pull_from uses to keep offsets: GET finds nothing, all else is fine.
func serveRedis(t *T) error {
	l, err := net.Listen("tcp", "127.0.0.1:6379")
	if err != nil {
		return err
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go answerRedis(c)
		}
	}()
	return nil
}

func answerRedis(c net.Conn) {
	defer func() { _ = c.Close() }()
	r := bufio.NewReader(c)
	line := func() (string, error) {
		s, err := r.ReadString('\n')
		return strings.TrimSpace(s), err
	}
	for {
		head, err := line()
		if err != nil || !strings.HasPrefix(head, "*") {
			return
		}
		n, err := strconv.Atoi(head[1:])
		if err != nil || n < 1 || n > 100 {
			return
		}
		var words []string
		for range n {
			if _, err := line(); err != nil { // the length
				return
			}
			w, err := line()
			if err != nil {
				return
			}
			words = append(words, strings.ToUpper(w))
		}
		answer := "+OK\r\n"
		if words[0] == "GET" {
			answer = "$-1\r\n"
		}
		if _, err := fmt.Fprint(c, answer); err != nil {
			return
		}
	}
}
