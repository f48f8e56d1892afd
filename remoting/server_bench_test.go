package remoting

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"

	"apogee/remoting/header"
)

// sendRoute answers sends as a broker does that stores nothing.
func sendRoute() Route {
	type state struct {
		in  header.SendMessageRequest
		out header.SendMessageResponse
	}
	states := sync.Pool{New: func() any { return new(state) }}
	extra := header.Fields{{Key: "MSG_REGION", Value: "DefaultRegion"}, {Key: "TRACE_ON", Value: "true"}}
	return Route{Code: 310, Handle: func(r *Request) {
		st := states.Get().(*state)
		if err := st.in.DecodeFields(r.Fields); err != nil {
			r.Fail(1, "%v", err)
			return
		}
		st.out = sendAnswer()
		st.out.QueueID = st.in.QueueID
		r.Reply(&Reply{Header: &st.out, Extra: extra})
		states.Put(st)
	}}
}

// BenchmarkSend drives a server in this process over real sockets: connections x requests in flight on each. Its time is that of
// both sides; bench-vs-java measures a broker alone.
func BenchmarkSend(b *testing.B) {
	for _, load := range []struct{ conns, inFlight, body int }{{1, 1, 1024}, {16, 64, 1024}, {16, 64, 128}, {16, 8, 65536}} {
		b.Run(fmt.Sprintf("%dx%d/%dB", load.conns, load.inFlight, load.body), func(b *testing.B) {
			s := startServer(b, ServerOptions{Routes: []Route{sendRoute()}})
			request := jsonFrame(sendHeaderJSON, string(make([]byte, load.body)))
			window := bytes.Repeat(request, load.inFlight)
			var clients sync.WaitGroup
			b.SetBytes(int64(len(request)))
			b.ReportAllocs()
			b.ResetTimer()
			for range load.conns {
				nc := dialRaw(b, s)
				clients.Go(func() {
					if err := pump(nc, window, len(request), b.N/load.conns+1); err != nil {
						b.Error(err)
					}
				})
			}
			clients.Wait()
		})
	}
}

// pump keeps a window of requests in flight until n are answered.
func pump(nc net.Conn, window []byte, size, n int) error {
	buf, have := make([]byte, 256<<10), 0
	sent := min(n, len(window)/size)
	if _, err := nc.Write(window[:sent*size]); err != nil {
		return err
	}
	for done := 0; done < n; {
		m, err := nc.Read(buf[have:])
		if err != nil {
			return fmt.Errorf("after %d answers: %w", done, io.ErrUnexpectedEOF)
		}
		have += m
		used, answers := 0, 0
		for have-used >= 4 {
			l := int(binary.BigEndian.Uint32(buf[used:])) + 4
			if have-used < l {
				break
			}
			used += l
			answers++
		}
		have = copy(buf, buf[used:have])
		done += answers
		more := min(answers, n-sent)
		sent += more
		if _, err := nc.Write(window[:more*size]); err != nil {
			return err
		}
	}
	return nil
}
