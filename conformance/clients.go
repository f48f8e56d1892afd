package conformance

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/apache/rocketmq-client-go/v2/producer"

	"apogee/conformance/wire"
	"apogee/remoting/code"
)

var clientCases = []Case{
	{Area: "clients/proxy", Feature: "4.x Java client full compatibility", Own: true, Run: javaClients, Limit: 8 * time.Minute},
	{Area: "clients/proxy", Feature: "Go client v2", Own: true, Run: goExamples, Limit: 5 * time.Minute},
	{Area: "clients/proxy", Feature: "JSON and ROCKETMQ header serialization", Run: serializations},
	{Area: "clients/proxy", Feature: "VIP channel port-2", Run: vipChannel},
	{Area: "clients/proxy", Feature: "New connections while others send without pause", Run: connectUnderTraffic},
}

func serializations(t *T) {
	b, n := t.dial(t.shared.broker), t.dial(t.shared.namesrv)
	topic := t.Name("Binary")
	b.topic(topic, topicConf{})
	b.Type, n.Type = wire.Binary, wire.Binary
	f := n.ok(code.GetRouteInfoByTopic, wire.Ext("topic", topic), nil)
	if !strings.Contains(string(f.Body), t.shared.broker) {
		t.Errorf("route by a binary header: %s", f.Body)
	}
	f = b.send(message{topic: topic, body: []byte("binary"), properties: wire.Properties("TAGS", "t", "city", "北京")})
	Equal(t, "queue offset", f.Int("queueOffset"), 0)
	rec := b.await(topic, 0, 1, 10*time.Second)[0]
	Equal(t, "body", string(rec.Body), "binary")
	Equal(t, "property", rec.Properties["city"], "北京")
	b.ok(code.SendMessage, message{topic: topic}.long(), []byte("long names"))
	f = b.want(code.TopicNotExist, code.PullMessage, pullExt(t.Name("G"), t.Name("Absent"), 0, 0), nil)
	if f.Remark == "" {
		t.Errorf("no remark in a binary answer")
	}
	// Both on one connection, frame by frame.
	b.Type = wire.JSON
	Equal(t, "messages by a JSON pull", len(b.await(topic, 0, 2, 10*time.Second)), 2)
	// Headers that other clients write: numbers as text, text as numbers, unknown members, nulls.
	odd := `{"code":"30","language":9,"version":"317","opaque":77,"flag":"0","remark":null,"unknown":{"a":[1,2]},` +
		`"extFields":{"topic":"` + topic + `","queueId":0,"flagged":true}}`
	frame := make([]byte, 8, 8+len(odd))
	frame[3], frame[7] = byte(4+len(odd)), byte(len(odd))
	frame[2], frame[6] = byte((4+len(odd))>>8), byte(len(odd)>>8)
	t.Must(b.Write(append(frame, odd...)), "write")
	t.Until(10*time.Second, "answer to an odd header", func() (bool, string) {
		for _, f := range b.Stray() {
			if f.Opaque == 77 {
				return f.Code == 0 && f.Ext["offset"] == "2", f.String()
			}
		}
		return false, "none"
	})
	// Unknown codes have an answer of their own; what is no frame closes the connection.
	b.want(code.RequestCodeNotSupported, 9999, nil, nil)
	for what, junk := range map[string][]byte{
		"a frame too long": {0x7F, 0, 0, 0, 0, 0, 0, 0}, "a negative length": {0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0},
		"a header longer than the frame": {0, 0, 0, 8, 0, 0, 0, 99, 'a', 'b', 'c', 'd'}, "an unknown serialization": {0, 0, 0, 6, 7, 0, 0, 2, '{', '}'},
		"a header that is no JSON": {0, 0, 0, 6, 0, 0, 0, 2, 'n', 'o'},
	} {
		c := t.dial(t.shared.broker)
		// The reference looks for a PROXY header in the first twelve bytes, so there have to be as many.
		t.Must(c.Write(append(junk, "and what follows"...)), "write")
		select {
		case <-c.Done():
		case <-time.After(10 * time.Second):
			t.Errorf("connection is still open after %s", what)
		}
	}
}

func vipChannel(t *T) {
	host, text, _ := net.SplitHostPort(t.shared.broker)
	port, _ := strconv.Atoi(text)
	vip := t.dial(net.JoinHostPort(host, strconv.Itoa(port-2)))
	topic := t.Name("VIP")
	vip.topic(topic, topicConf{})
	vip.send(message{topic: topic, body: []byte("x")})
	f := vip.want(code.RequestCodeNotSupported, code.PullMessage, pullExt(t.Name("G"), topic, 0, 0), nil)
	if !strings.Contains(f.Remark, "11") {
		t.Errorf("remark %q does not name the code", f.Remark)
	}
	vip.want(code.RequestCodeNotSupported, code.LitePullMessage, pullExt(t.Name("G"), topic, 0, 0), nil)
	t.sendSync(t.producer(t.shared, producer.WithVIPChannel(true)), message1(topic, "by the official client"))
	recs := t.dial(t.shared.broker).await(topic, 0, 2, 10*time.Second)
	Equal(t, "bodies", fmt.Sprint(string(recs[0].Body), " ", string(recs[1].Body)), "x by the official client")
}
