package main

import (
	"time"

	"apogee/bench"
)

// delayed is level 1 of both brokers.
const delayed = time.Second

func transactions(o *bench.Options, _ *settings) { o.Topic = "HalfTopic" }

// popped is drained again in each run, by a group that has seen nothing yet.
func popped(together bool) func(*bench.Options, *settings) {
	return func(o *bench.Options, s *settings) {
		o.Topic, o.Connections, o.Fill, o.Duration, o.BatchAck = "PopTopic", 8, 400_000, time.Minute, together
		if s.quick {
			o.Fill = 20_000
		}
	}
}

func sql(o *bench.Options, s *settings) {
	drain(o, s)
	o.Topic, o.Group, o.Properties = "SQLTopic", "bench_sql", "a\x017\x02color\x01red\x02b\x01x\x02"
	o.SQL = "a > 5 AND color IN ('red', 'blue') AND b IS NOT NULL"
}

func later(topic string, rate int, back bool) func(*bench.Options, *settings) {
	return func(o *bench.Options, s *settings) {
		tail(rate, 1, 2)(o, s)
		o.Topic, o.Level, o.After, o.Back = topic, 1, delayed, back
		o.Group = "bench_" + topic
		o.Warmup = 2 * delayed // until what is sent and what is delivered are as many
	}
}

// bulkLater is as many as can be in flight, so that a broker is measured at its own pace.
func bulkLater(topic string, back bool) func(*bench.Options, *settings) {
	return func(o *bench.Options, s *settings) {
		o.Topic, o.Group, o.Level, o.After, o.Back = topic, "bench_"+topic, 1, delayed, back
		o.Connections, o.InFlight, o.Consumers, o.Count = 8, 64, 4, 200_000
		if s.quick {
			o.Count = 20_000
		}
	}
}

// kindRows are the kinds of messages and the ways to consume that are more than a send and a pull.
var kindRows = []loadRow{
	{name: "pull with an SQL filter, draining 400,000", run: bench.Pull, set: sql, owed: []loadOwed{{cpu, part(8)}, {throughput, owed{}}}},
	{name: "delay level 1, 200,000 messages, 8 × 64, until all are delivered", run: bench.LatencyRun, set: bulkLater("DelayTopic", false), owed: []loadOwed{{cpu, part(8)}, {throughput, owed{}}}},
	{name: "sent back once, delay level 1, 200,000 messages, 8 × 64", run: bench.LatencyRun, set: bulkLater("BackTopic", true), owed: []loadOwed{{cpu, part(8)}, {throughput, owed{}}}},
	{name: "delay level 1, 1,000/s, a producer, 2 long-polling consumers", run: bench.LatencyRun, set: later("SlowDelayTopic", 1_000, false), owed: []loadOwed{
		{cpu, owed{}}, {half.named("p50 behind its time, ms"), owed{}}, {hundredth.named("p99 behind its time, ms"), atMost(5, " ms")},
	}},
	{name: "sent back once, delay level 1, 1,000/s", run: bench.LatencyRun, set: later("SlowBackTopic", 1_000, true), owed: []loadOwed{
		{cpu, owed{}}, {half.named("p50 behind its time, ms"), owed{}}, {hundredth.named("p99 behind its time, ms"), owed{}},
	}},
	{name: "delay level 1, 10,000/s", run: bench.LatencyRun, set: later("DelayTopic10", 10_000, false), owed: []loadOwed{
		{cpu, owed{}}, {half.named("p50 behind its time, ms"), owed{}}, {hundredth.named("p99 behind its time, ms"), owed{}},
	}},
	{name: "sent back once, delay level 1, 10,000/s", run: bench.LatencyRun, set: later("BackTopic10", 10_000, true), owed: []loadOwed{
		{cpu, owed{}}, {half.named("p50 behind its time, ms"), owed{}}, {hundredth.named("p99 behind its time, ms"), owed{}},
	}},
	// Those with much left to do afterwards are the last.
	{name: "pop of 32, each message acknowledged", run: bench.Pop, set: popped(false), owed: []loadOwed{{cpu, part(8)}, {throughput, owed{}}}},
	{name: "pop of 32, acknowledged together", run: bench.Pop, set: popped(true), owed: []loadOwed{{cpu, part(8)}, {throughput, owed{}}}},
	{name: "half message and its commit, 16 × 64", run: bench.Transactions, set: transactions, owed: []loadOwed{{cpu, part(8)}, {throughput, owed{}}}},
}

// filtering lets brokers take SQL filters.
func filtering() map[string]string { return map[string]string{"enablePropertyFilter": "true"} }
