package remoting

import (
	"bytes"
	"testing"

	"apogee/remoting/header"
)

// A send as Java clients make it (code 310) and its answer.
const sendHeaderJSON = `{"code":310,"extFields":{"a":"PG_bench","b":"BenchTopic","c":"TBW102","d":"4","e":"2","f":"0",` +
	`"g":"1700000000000","h":"0","i":"UNIQ_KEY\u00010A00000100002A9F000000000000012B\u0002WAIT\u0001true\u0002TAGS\u0001TagA",` +
	`"j":"0","k":"false","m":"false"},"flag":0,"language":"JAVA","opaque":12345,"serializeTypeCurrentRPC":"JSON","version":513}`

func sendAnswer() header.SendMessageResponse {
	return header.SendMessageResponse{
		MsgID: "0A00000100002A9F0000000000000100", QueueID: 2, QueueOffset: 12345678, TransactionID: "0A00000100002A9F000000000000012B",
	}
}

// binaryOf is the frame that a JSON header makes in the binary form.
func binaryOf(t testing.TB, text string) []byte {
	t.Helper()
	var r Request
	if err := decodeJSON([]byte(text), &r); err != nil {
		t.Fatal(err)
	}
	var w frameWriter
	if err := w.frame(RocketMQ, &head{code: r.Code, opaque: r.Opaque, extra: r.Fields}, nil, 0); err != nil {
		t.Fatal(err)
	}
	return w.buf
}

// A send as the Go client makes it (code 10): no alphabetical order, long names, extFields last.
const sendHeaderGo = `{"code":10,"language":"GO","version":317,"opaque":4321,"flag":0,"remark":"","extFields":{"batch":"false",` +
	`"bornTimestamp":"1700000000000","defaultTopic":"TBW102","defaultTopicQueueNums":"4","flag":"0","maxReconsumeTimes":"0",` +
	`"producerGroup":"PG_bench","properties":"TAGS\u0001TagA\u0002UNIQ_KEY\u00010A00000100002A9F000000000000012B\u0002",` +
	`"queueId":"2","reconsumeTimes":"0","sysFlag":"0","topic":"BenchTopic","unitMode":"false"}}`

// A pull as Java clients make it.
const pullHeaderJSON = `{"code":11,"extFields":{"commitOffset":"123456","consumerGroup":"CG_bench","expressionType":"TAG",` +
	`"maxMsgBytes":"2147483647","maxMsgNums":"32","queueId":"2","queueOffset":"123456","requestSource":"-1","subVersion":"1700000000000",` +
	`"subscription":"*","suspendTimeoutMillis":"15000","sysFlag":"3","topic":"BenchTopic"},"flag":0,"language":"JAVA","opaque":12345,` +
	`"serializeTypeCurrentRPC":"JSON","version":513}`

func BenchmarkDecode(b *testing.B) {
	for _, bm := range []struct {
		name  string
		frame []byte
		into  header.Decoder
	}{
		{"send/json", jsonFrame(sendHeaderJSON, ""), new(header.SendMessageRequest)},
		{"send/json of Go", jsonFrame(sendHeaderGo, ""), new(header.SendMessageRequest)},
		{"send/binary", binaryOf(b, sendHeaderJSON), new(header.SendMessageRequest)},
		{"pull/json", jsonFrame(pullHeaderJSON, ""), new(header.PullMessageRequest)},
		{"pull/binary", binaryOf(b, pullHeaderJSON), new(header.PullMessageRequest)},
	} {
		b.Run(bm.name, func(b *testing.B) {
			r := Request{Fields: make(header.Fields, 0, 32)}
			frame := bytes.Clone(bm.frame)
			b.ReportAllocs()
			for b.Loop() {
				copy(frame, bm.frame) // decoding unescapes in place
				if _, err := decodeFrame(frame, &r); err != nil {
					b.Fatal(err)
				}
				if err := bm.into.DecodeFields(r.Fields); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkEncode(b *testing.B) {
	send := sendAnswer()
	pull := header.PullMessageResponse{NextBeginOffset: 123488, MaxOffset: 4000000, TopicSysFlag: header.Some[int32](0), GroupSysFlag: header.Some[int32](0)}
	shared := header.Fix(header.Fields{{Key: "MSG_REGION", Value: "DefaultRegion"}, {Key: "TRACE_ON", Value: "true"}})
	for _, bm := range []struct {
		name string
		head head
	}{
		{"send", head{opaque: 12345, flag: flagResponse, fields: &send, shared: shared}},
		{"pull", head{opaque: 12345, flag: flagResponse, fields: &pull, remark: "FOUND"}},
	} {
		for _, ser := range []Serialization{JSON, RocketMQ} {
			b.Run(bm.name+"/"+ser.String(), func(b *testing.B) {
				var w frameWriter
				b.ReportAllocs()
				for b.Loop() {
					w.buf = w.buf[:0]
					if err := w.frame(ser, &bm.head, nil, 0); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
