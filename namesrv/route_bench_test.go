package namesrv

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"apogee/compat/fastjson"
	"apogee/remoting"
	"apogee/remoting/code"
	"apogee/remoting/header"
	"apogee/store/vfs"
)

func benchServer(b *testing.B, topics int) *Server {
	s, err := New(defaultConfig(b), Deps{FS: vfs.NewMem(time.Now), Now: time.Now, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	for i := range 4 {
		r := reg(fmt.Sprintf("broker-%d", i), fmt.Sprintf("10.0.0.%d:10911", i), 0, 8)
		for j := range topics {
			name := fmt.Sprintf("Topic-%d", j)
			r.body.TopicConfigSerializeWrapper.TopicConfigTable[name] = topicConfig(name, 8, 6, 0)
		}
		s.topology.register(r)
	}
	return s
}

// BenchmarkRoute is one route query from the decoded request to the reply.
func BenchmarkRoute(b *testing.B) {
	s := benchServer(b, 1000)
	fields := header.Fields{{Key: "topic", Value: "Topic-500"}}
	for name, version := range map[string]int32{"standard": 513, "bare": 317} {
		b.Run(name, func(b *testing.B) {
			r := remoting.NewRequest(remoting.Request{Code: code.GetRouteInfoByTopic, Version: version, Fields: fields}, func(*remoting.Reply) {})
			b.ReportAllocs()
			for b.Loop() {
				s.getRouteInfo(r)
			}
		})
	}
}

// BenchmarkRouteMiss is what a query costs after a change: two texts of four brokers.
func BenchmarkRouteMiss(b *testing.B) {
	s := benchServer(b, 1000)
	b.ReportAllocs()
	for b.Loop() {
		s.topology.changes.Add(1)
		s.topology.route("Topic-500", standardJSON)
	}
}

// BenchmarkReadRegistration and BenchmarkRegister are the two halves of a registration with 1000 topics in which nothing changed.
func BenchmarkReadRegistration(b *testing.B) {
	r := reg("b", "a:1", 0, 8)
	for j := range 1000 {
		name := fmt.Sprintf("Topic-%d", j)
		r.body.TopicConfigSerializeWrapper.TopicConfigTable[name] = topicConfig(name, 8, 6, 0)
	}
	text := r.body.Encode(false)
	b.ReportAllocs()
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		back := *r.body
		if err := fastjson.Unmarshal(text, &back); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRegister(b *testing.B) {
	s := benchServer(b, 1000)
	r := reg("broker-0", "10.0.0.0:10911", 0, 8)
	for j := range 1000 {
		name := fmt.Sprintf("Topic-%d", j)
		r.body.TopicConfigSerializeWrapper.TopicConfigTable[name] = topicConfig(name, 8, 6, 0)
	}
	b.ReportAllocs()
	for b.Loop() {
		s.topology.register(r)
	}
}
