package faults

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"apogee/broker"
	"apogee/compat/properties"
	"apogee/remoting"
	"apogee/remoting/header"
	"apogee/store"
	"apogee/store/vfs"
)

// Sizes that make files roll over all the time.
const (
	root        = "/data/store"
	logFileSize = 64 << 10
	queues      = 2 // of each topic
)

// clock is the machine's, moved ahead.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time          { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *clock) advance(d time.Duration) { c.ahead.Add(int64(d)) }

// settings are what all brokers here have in common: small files, short periods.
const settings = `brokerClusterName=C
brokerName=b
bindAddress=127.0.0.1
brokerIP1=127.0.0.1
listenPort=0
mappedFileSizeCommitLog=65536
mappedFileSizeConsumeQueue=400
mapperFileSizeBatchConsumeQueue=460
mappedFileSizeTimerLog=4096
maxHashSlotNum=50
maxIndexNum=200
defaultTopicQueueNums=2
reviveQueueNum=2
messageDelayLevel=0s 1s 2s
timerPrecisionMs=100
timerFlushIntervalMs=10
flushIntervalCommitLog=20
flushCommitLogThoroughInterval=40
flushIntervalConsumeQueue=5
flushConsumeQueueThoroughInterval=25
flushConsumerOffsetInterval=10
flushDelayOffsetInterval=10
transactionCheckInterval=20
transactionTimeOut=60000
transactionOpBatchInterval=10
transactionMetricFlushInterval=20
reviveInterval=20
cleanResourceInterval=50
deleteCommitLogFilesInterval=1
fileReservedTime=48
`

// node is a broker that runs, and a client of it.
type node struct {
	*broker.Broker
	client *remoting.Client
	addr   string
}

// startNode starts a broker on a file system. conf is more settings; the last one of a key counts.
func startNode(fsys vfs.FS, dir string, clk *clock, log *slog.Logger, conf string) (*node, error) {
	f, err := properties.Parse("faults", []byte(merged(settings+conf+"\nstorePathRootDir="+dir+"\n")))
	if err != nil {
		return nil, err
	}
	var c broker.Config
	var opts store.Options
	if _, err := properties.Bind(f, &c, &opts); err != nil {
		return nil, err
	}
	c.Complete("host", nil)
	b, err := broker.New(&c, opts, broker.Env{FS: fsys, Now: clk.now, Log: log, Settings: f})
	if err != nil {
		return nil, err
	}
	if err := b.Start(); err != nil {
		return nil, err
	}
	return &node{Broker: b, client: remoting.NewClient(remoting.ClientOptions{}), addr: b.Addr().String()}, nil
}

// merged leaves the last line of each key.
func merged(text string) string {
	last := make(map[string]string)
	var keys []string
	for line := range strings.Lines(text) {
		key, _, ok := strings.Cut(strings.TrimSpace(line), "=")
		if !ok {
			continue
		}
		if _, known := last[key]; !known {
			keys = append(keys, key)
		}
		last[key] = line
	}
	var b strings.Builder
	for _, k := range keys {
		b.WriteString(strings.TrimSpace(last[k]) + "\n")
	}
	return b.String()
}

// stop stops a broker. One whose file system is gone has an error, which says nothing.
func (n *node) stop() error {
	n.client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return n.Shutdown(ctx)
}

// patience bounds every request: whoever waits longer has found a fault.
const patience = 20 * time.Second

// call makes a request.
func (n *node) call(ctx context.Context, request int32, h header.Encodable, text []byte) (*remoting.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	r, err := n.client.Call(ctx, n.addr, remoting.Outgoing{Code: request, Header: h, Body: text})
	if err != nil {
		return nil, fmt.Errorf("request %d: %w", request, err)
	}
	return r, nil
}

// want is call for requests that must succeed.
func (n *node) want(ctx context.Context, request int32, h header.Encodable, text []byte) (*remoting.Response, error) {
	r, err := n.call(ctx, request, h, text)
	if err == nil && r.Code != 0 {
		err = fmt.Errorf("request %d: answer %d, %s", request, r.Code, r.Remark)
	}
	return r, err
}
