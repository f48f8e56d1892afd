package processor

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"apogee/broker/stats"
	"apogee/remoting"
	"apogee/remoting/code"
	"apogee/store"
)

// defective panics at one of its commits.
type defective struct {
	*memStore
	commits *atomic.Int32
	at      int32
}

func (d defective) Commit(r *store.PutResult) error {
	if d.commits.Add(1) == d.at {
		panic("a defect")
	}
	return d.memStore.Commit(r)
}

// sendFrame is a send as it comes over the network.
func sendFrame(topic string, opaque int) []byte {
	var ext strings.Builder
	for i, f := range sendFields(topic, "") {
		if i > 0 {
			ext.WriteByte(',')
		}
		fmt.Fprintf(&ext, "%q:%q", f.Key, f.Value)
	}
	head := fmt.Sprintf(`{"code":%d,"extFields":{%s},"flag":0,"language":"JAVA","opaque":%d,"version":513}`, code.SendMessage, ext.String(), opaque)
	frame := binary.BigEndian.AppendUint32(nil, uint32(4+len(head)+4))
	frame = binary.BigEndian.AppendUint32(frame, uint32(len(head)))
	return append(append(frame, head...), "body"...)
}

func readAnswer(t *testing.T, from io.Reader) string {
	t.Helper()
	var size [4]byte
	if _, err := io.ReadFull(from, size[:]); err != nil {
		t.Fatal(err)
	}
	frame := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(from, frame); err != nil {
		t.Fatal(err)
	}
	return string(frame[4:])
}

func TestSendsOfOneBatchAreEndedTogether(t *testing.T) {
	g := newRig(t)
	g.addTopic("tA", nil)
	g.addTopic("tB", nil)
	g.Processor.Store = defective{g.store, new(atomic.Int32), 3}
	srv, err := remoting.Listen(remoting.ServerOptions{Addr: "127.0.0.1:0", Routes: g.Routes(false)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = srv.Shutdown(t.Context()) }()
	c, err := net.Dial("tcp", srv.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()

	start := time.Unix(1_700_000_000, 0)
	g.Stats.Sample(start)
	for round := range 3 { // later ones with the ops of those before
		var frames []byte
		var want []string
		for i, topic := range []string{"tA", "tA", "tB", "tA", "tB", "tB", "tB"} {
			frames = append(frames, sendFrame(topic, i)...)
			if round > 0 || i != 2 { // the one that panics has no answer, the others have
				want = append(want, fmt.Sprint(i))
			}
		}
		if _, err := c.Write(frames); err != nil {
			t.Fatal(err)
		}
		for _, w := range want {
			a := readAnswer(t, c)
			if !strings.HasPrefix(a, `{"code":0,"extFields":{"msgId":"`) || !strings.Contains(a, `"opaque":`+w+",") {
				t.Errorf("round %d: answer %s, want that to %s", round, a, w)
			}
		}
	}
	g.Stats.Sample(start.Add(stats.SamplePeriod))
	for topic, want := range map[string]int64{"tA": 9, "tB": 11} {
		if v, _ := g.Stats.View("TOPIC_PUT_NUMS", topic); v.Minute.Sum != want || v.Minute.Times != want {
			t.Errorf("%s: %+v, want %d", topic, v.Minute, want)
		}
	}
}
