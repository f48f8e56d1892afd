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

func BenchmarkDecodeSend(b *testing.B) {
	body := string(make([]byte, 1024))
	for _, bm := range []struct {
		name  string
		frame []byte
	}{
		{"json", jsonFrame(sendHeaderJSON, body)},
		{"binary", binaryOf(b, sendHeaderJSON)},
	} {
		b.Run(bm.name, func(b *testing.B) {
			r := Request{Fields: make(header.Fields, 0, 32)}
			var h header.SendMessageRequest
			frame := bytes.Clone(bm.frame)
			b.ReportAllocs()
			for b.Loop() {
				copy(frame, bm.frame) // decoding unescapes in place
				if _, err := decodeFrame(frame, &r); err != nil {
					b.Fatal(err)
				}
				if err := h.DecodeFields(r.Fields); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkEncodeSendAnswer(b *testing.B) {
	for _, ser := range []Serialization{JSON, RocketMQ} {
		b.Run(ser.String(), func(b *testing.B) {
			var w frameWriter
			answer := sendAnswer()
			h := head{opaque: 12345, flag: flagResponse, fields: &answer, extra: header.Fields{{Key: "MSG_REGION", Value: "DefaultRegion"}, {Key: "TRACE_ON", Value: "true"}}}
			b.ReportAllocs()
			for b.Loop() {
				w.buf = w.buf[:0]
				if err := w.frame(ser, &h, nil, 0); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
