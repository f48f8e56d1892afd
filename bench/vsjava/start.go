package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"apogee/bench"
	"apogee/internal/testkit"
)

// started is what the start of a broker on an empty folder cost.
type started struct {
	Target    string        `json:"target"`
	FirstSend time.Duration `json:"first_acknowledged_send_ns"` // from the start of the process
	CPU       time.Duration `json:"cpu_ns"`                     // used by then
	Idle      bench.Memory  `json:"idle_memory"`
}

// startSubject starts name server and broker, and sends until a message is acknowledged.
func startSubject(t testkit.Target, dir, mode string) (*subject, started, error) {
	x := &subject{target: t}
	out := started{Target: t.Name()}
	var err error
	if x.namesrv, err = t.Namesrv(filepath.Join(dir, "namesrv"), nil); err != nil {
		return x, out, err
	}
	port, err := testkit.BrokerPort()
	if err != nil {
		return x, out, err
	}
	// Retention is long so that no run meets a deletion, and requests may wait: the reference refuses them after 200 ms, which a busy
	// machine makes of every load, and then it is the refusals that are measured. All else that concerns speed is the default of both.
	conf := testkit.Props{
		"brokerName": "bench-" + t.Name(), "brokerClusterName": "Bench", "brokerId": "0", "flushDiskType": mode,
		"fileReservedTime": "48", "deleteWhen": "04", "diskMaxUsedSpaceRatio": "95",
		"waitTimeMillsInSendQueue": "20000", "osPageCacheBusyTimeOutMills": "20000", "listenPort": fmt.Sprint(port),
	}
	began := time.Now()
	type first struct {
		at  time.Time
		err error
	}
	acked := make(chan first, 1)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	go func() {
		at, err := firstSend(ctx, testkit.Addr(port))
		acked <- first{at, err}
	}()
	if x.broker, err = t.Broker(filepath.Join(dir, "broker"), x.namesrv.Addr(), conf); err != nil {
		cancel()
		<-acked
		return x, out, err
	}
	f := <-acked
	if f.err != nil {
		return x, out, fmt.Errorf("first send to %s: %w", t.Name(), f.err)
	}
	out.FirstSend = f.at.Sub(began)
	if out.CPU, err = bench.CPU(x.broker.PID()); err != nil {
		return x, out, err
	}
	out.Idle, err = bench.MemoryOf(x.broker.PID())
	return x, out, err
}

// firstSend tries to send one message until the broker takes it.
func firstSend(ctx context.Context, broker string) (time.Time, error) {
	o := bench.Options{
		Broker: broker, Topic: "FirstTopic", Topics: 1, Queues: 1, Create: true, Connections: 1, InFlight: 1, Body: 100, Batch: 1,
		Wait: true, Count: 1, Duration: 10 * time.Second,
	}
	for {
		res, err := bench.Send(ctx, o)
		if err == nil && res.Messages > 0 {
			return time.Now(), nil
		}
		select {
		case <-ctx.Done():
			return time.Time{}, fmt.Errorf("%w, last: %w", ctx.Err(), err)
		case <-time.After(2 * time.Millisecond):
		}
	}
}
