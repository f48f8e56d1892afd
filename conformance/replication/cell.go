package replication

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"apogee/conformance/wire"
	"apogee/internal/testkit"
	"apogee/remoting/code"
)

// cell is a case of the matrix that runs.
type cell struct {
	*Options
	*Row
	ctx     context.Context
	began   time.Time
	dir     string
	topic   string
	network network
	disks   [2]slowing // of slow-disk cells
	brokers [2]testkit.Server
	readers [2]*consumer // one that goes where it is sent, and one that reads from the slave alone
	namesrv testkit.Server
	next    atomic.Int32 // id of the last message

	// Of slaveSettled: where the slave's queues ended the last time, and how often in a row.
	lastEnds [queues]int64
	sameEnds int

	mu      sync.Mutex // guards what follows, and Findings
	history history
	audits  []audit
}

// find notes that something is wrong.
func (c *cell) find(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.Findings) < 20 {
		c.Findings = append(c.Findings, fmt.Sprintf(format, args...))
	}
}

// pause waits.
func (c *cell) pause(d time.Duration) error {
	select {
	case <-c.ctx.Done():
		return c.ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// await waits for a state; how tells what it is as yet.
func (c *cell) await(what string, state func() (reached bool, how string)) error {
	for end := time.Now().Add(2 * time.Minute); ; {
		ok, how := state()
		if ok {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("%s: not reached: %s", what, how)
		}
		if err := c.pause(20 * time.Millisecond); err != nil {
			return err
		}
	}
}

func (c *cell) run() error {
	defer c.close()
	if err := c.start(); err != nil {
		return err
	}
	err := c.work(func() error {
		err := c.pause(c.Load)
		for round := 0; err == nil && round < c.Rounds; round++ {
			err = errors.Join(faults[c.Fault].do(c, round), c.pause(c.Load))
		}
		return err
	}, c.settled)
	if errors.Is(err, testkit.ErrMissing) {
		c.Skipped = err.Error()
		return nil
	}
	if err != nil {
		return err
	}
	if err := c.compareBoth(); err != nil {
		return err
	}
	before := c.count()
	err = c.work(func() error {
		return errors.Join(c.pause(max(c.Load/2, 300*time.Millisecond)), c.brokers[master].Kill())
	}, c.slaveSettled)
	if err != nil {
		return fmt.Errorf("after the master was killed for good: %w", err)
	}
	if c.count() == before {
		c.find("nothing was acknowledged any more after the faults")
	}
	return c.compareAlone()
}

// start starts both brokers, and waits until one follows the other.
func (c *cell) start() error {
	if err := c.lay(); err != nil {
		return err
	}
	ns, err := c.Apogee.Namesrv(filepath.Join(c.dir, "namesrv"), testkit.Props{"bindAddress": c.network.client()})
	if err != nil {
		return err
	}
	c.namesrv = ns
	ports, err := testkit.HoldBrokerPorts() // the network has its own; here it keeps cells apart
	if err != nil {
		return err
	}
	role := testkit.Props{"brokerRole": "ASYNC_MASTER", "listenPort": ports.Text(), "haListenPort": ports.Replicas()}
	if c.Sync {
		role = role.With(testkit.Props{"brokerRole": "SYNC_MASTER", "inSyncReplicas": "2", "slaveTimeout": "1500"})
	}
	if err := c.startBroker(master, c.Master, role); err != nil {
		return err
	}
	to := client{server: c.brokers[master]}
	defer to.close()
	for _, topic := range []string{c.topic, c.topic + "Crowd"} {
		f, err := to.call(code.UpdateAndCreateTopic, wire.Ext("topic", topic, "defaultTopic", "TBW102", "readQueueNums", queues,
			"writeQueueNums", queues, "perm", 6, "topicFilterType", "SINGLE_TAG", "topicSysFlag", 0, "order", false), nil)
		if err != nil || f.Code != int(code.Success) {
			return fmt.Errorf("make topic %s: %v %w", topic, f, err)
		}
	}
	if err := c.tellTopics(); err != nil {
		return err
	}
	conf, err := c.network.slaveConf(fmt.Sprintf("%s:%d", c.network.host(master).addr, ports.Port()+1))
	if err != nil {
		return err
	}
	if err := c.startBroker(slave, c.Slave, testkit.Props{"brokerRole": "SLAVE", "brokerId": "1"}.With(conf)); err != nil {
		return err
	}
	return c.follows()
}

// tellTopics gives the slave the master's topics, before it is started: a Java slave asks for them a minute later only.
func (c *cell) tellTopics() error {
	file := func(who role) string { return filepath.Join(c.dir, who.String(), "store", "config", "topics.json") }
	var text []byte
	err := c.await("topics in the master's file", func() (bool, string) {
		var err error
		text, err = os.ReadFile(file(master))
		return bytes.Contains(text, []byte(c.topic+"Crowd")), fmt.Sprint(string(text), err)
	})
	if err != nil {
		return err
	}
	return errors.Join(os.MkdirAll(filepath.Dir(file(slave)), 0o755), os.WriteFile(file(slave), text, 0o644))
}

// lay makes hosts and disks.
func (c *cell) lay() error {
	h, err := newHosts()
	switch {
	case err == nil:
		c.network = h
	case errors.Is(err, testkit.ErrMissing):
		c.Progress("%v: all on one host: %v", c.Cell, err)
		c.network = &loopback{java: c.Slave == "java"}
	default:
		return err
	}
	c.Hosts = c.network.String()
	if c.Fault.String() == slowDisk {
		return c.prepareDisks()
	}
	return nil
}

func (c *cell) startBroker(who role, kind string, more testkit.Props) error {
	at := c.network.host(who)
	conf := testkit.Props{
		"brokerClusterName": "ReplicationCluster", "brokerName": "replicated", "brokerId": "0", "deleteWhen": "04", "fileReservedTime": "87600",
		"brokerIP1": at.addr, "brokerIP2": at.addr, "bindAddress": at.addr, "diskMaxUsedSpaceRatio": "95",
		"mappedFileSizeCommitLog": "1048576", "maxMessageSize": "65536", "mappedFileSizeConsumeQueue": "60000", "maxHashSlotNum": "5000", "maxIndexNum": "20000",
		"haSendHeartbeatInterval": "500", "haHousekeepingInterval": fmt.Sprint(housekeeping.Milliseconds()), "slaveReadEnable": "true", "timerWheelEnable": "false",
		// The reference answers SYSTEM_BUSY when a busy machine lets requests wait; that is not what is tested here.
		"waitTimeMillsInSendQueue": "20000", "osPageCacheBusyTimeOutMills": "20000",
	}
	if c.disks[who] != nil {
		conf["flushDiskType"] = "SYNC_FLUSH" // or nobody would wait for the disk
	}
	a := c.Apogee
	a.Netns = at.netns
	var of testkit.Target = a
	if kind == "java" {
		j := *c.Java
		j.Netns = at.netns
		of = &j
	}
	s, err := of.Broker(filepath.Join(c.dir, who.String()), c.namesrv.Addr(), conf.With(more))
	if err != nil {
		return fmt.Errorf("start a %v: %w", who, err)
	}
	c.brokers[who] = s
	return nil
}

// follows waits until the slave is connected, and knows the topic.
func (c *cell) follows() error {
	of := client{server: c.brokers[slave]}
	defer of.close()
	err := c.await("topic at the slave", func() (bool, string) {
		f, err := of.call(code.GetTopicConfig, wire.Ext("topic", c.topic), nil)
		return err == nil && f.Code == int(code.Success), fmt.Sprint(f, err)
	})
	if err != nil {
		return err
	}
	return c.await("slave is connected", c.connected)
}

func (c *cell) connected() (bool, string) {
	of := client{server: c.brokers[master]}
	defer of.close()
	info, err := of.haStatus()
	return err == nil && len(info.HAConnectionInfo) > 0, fmt.Sprintf("%+v %v", info, err)
}

// work has clients work while something happens, then lets consumers read on until a state is reached.
func (c *cell) work(happens func() error, reached func() (bool, string)) error {
	var sending, reading sync.WaitGroup
	stopSending, stopReading := make(chan struct{}), make(chan struct{})
	for i := range producers {
		sending.Go(func() { c.produce(stopSending, i) })
	}
	sending.Go(func() { c.crowd(stopSending) })
	for i, alone := range []bool{false, true} {
		if c.readers[i] == nil {
			c.readers[i] = &consumer{cell: c, number: producers + i, alone: alone}
		}
		reading.Go(func() { c.readers[i].consume(stopReading) })
	}
	if c.Sync {
		reading.Go(func() { c.audit(stopReading) })
	}
	err := happens()
	close(stopSending)
	sending.Wait()
	if err == nil {
		err = c.await("slave and consumers have all", reached)
	}
	close(stopReading)
	reading.Wait()
	return err
}

// settled tells whether both logs and all queues end at the same places, and consumers have read all of it.
func (c *cell) settled() (bool, string) {
	var at [2]client
	var ends [2][queues]int64
	var logs [2]int64
	for who := range at {
		at[who].server = c.brokers[who]
		defer at[who].close()
		var err error
		if logs[who], err = at[who].logEnd(); err == nil {
			ends[who], err = c.queueEnds(&at[who])
		}
		if err != nil {
			return false, fmt.Sprintf("%v: %v", role(who), err)
		}
	}
	return logs[master] == logs[slave] && ends[master] == ends[slave] && c.readers[0].has(ends[master]) && c.readers[1].has(ends[master]),
		fmt.Sprintf("logs of master and slave end at %v, queues at %v; consumers are at %v and %v", logs, ends, c.readers[0].reached(), c.readers[1].reached())
}

// has tells whether it has read everything up to these ends. It may be further: what a master served that died is not all at its slave.
func (r *consumer) has(ends [queues]int64) bool {
	at := r.reached()
	for q := range ends {
		if at[q] < ends[q] {
			return false
		}
	}
	return true
}

func (r *consumer) reached() (at [queues]int64) {
	for q := range at {
		at[q] = r.next[q].Load()
	}
	return at
}

// compareBoth compares master and slave, and what the master has with what clients know.
func (c *cell) compareBoth() error {
	end, err := LogEnd(c.brokers[slave])
	if err != nil {
		return err
	}
	if c.LogBytes, err = SameLog(c.brokers[master], c.brokers[slave], end); err != nil {
		c.find("%v", err)
	}
	f, err := c.whatIsAt(master)
	if err != nil {
		return err
	}
	c.weigh("the master", f, (*sent).stored, nil)
	return nil
}

func (c *cell) whatIsAt(who role) (final, error) {
	of := client{server: c.brokers[who]}
	defer of.close()
	ends, err := c.queueEnds(&of)
	if err != nil {
		return nil, err
	}
	return c.readAll(&of, ends)
}

// judgeLimit bounds the checker's time.
const judgeLimit = 2 * time.Minute

// weigh counts what is lost, and has the checker judge.
func (c *cell) weigh(whose string, f final, kept, promised func(*sent) bool) {
	lost := missing(c.history.sends, f, kept)
	c.Lost = max(c.Lost, len(lost))
	for _, s := range lost[:min(3, len(lost))] {
		c.find("%s lacks message %d: queue %d, offset %d, answer %d at %v", whose, s.id, s.queue, s.offset, s.code, time.Duration(s.ret))
	}
	twice := 0
	for _, at := range f.places() {
		if len(at) > 1 {
			twice++
		}
	}
	if c.Duplicates = max(c.Duplicates, twice); twice > 0 {
		c.find("%s has %d messages more than once", whose, twice)
	}
	verdict, operations, why := judge(&c.history, f, promised, judgeLimit)
	c.Operations = operations
	if c.Verdict == "" || verdict != "linearizable" {
		c.Verdict = verdict
	}
	for _, w := range why {
		c.find("%s: %s", whose, w)
	}
}

// compareAlone looks at what the slave has, whose master is gone.
func (c *cell) compareAlone() error {
	end, err := LogEnd(c.brokers[slave])
	if err != nil {
		return err
	}
	n, err := SameLog(c.brokers[master], c.brokers[slave], end)
	c.LogBytes = max(c.LogBytes, n)
	if err != nil {
		c.find("after the master was killed for good: %v", err)
	}
	f, err := c.whatIsAt(slave)
	if err != nil {
		return err
	}
	promised := func(s *sent) bool { return c.Sync && s.ok() }
	c.weigh("the slave alone", f, promised, promised)
	c.Behind = len(missing(c.history.sends, f, func(s *sent) bool { return s.ok() && !promised(s) }))
	for _, early := range tooEarly(c.history.sends, c.audits) {
		c.find("%s", early)
	}
	c.Audits = len(c.audits)
	c.FromMaster, c.FromSlave = c.readers[0].served[master], c.readers[0].served[slave]
	c.count()
	return nil
}

// slaveSettled tells whether the slave's queues have ended to grow, and consumers have read all of it.
func (c *cell) slaveSettled() (bool, string) {
	of := client{server: c.brokers[slave]}
	defer of.close()
	ends, err := c.queueEnds(&of)
	if err != nil {
		return false, err.Error()
	}
	// It goes on to index what it has: passes are counted, not time, since a machine that stands still has not waited.
	if ends != c.lastEnds {
		c.lastEnds, c.sameEnds = ends, 0
	}
	c.sameEnds++
	return c.sameEnds > 25 && c.readers[0].has(ends) && c.readers[1].has(ends),
		fmt.Sprintf("queues end at %v; consumers are at %v and %v", ends, c.readers[0].reached(), c.readers[1].reached())
}

// count counts messages by what their answers said, and returns how many were acknowledged.
func (c *cell) count() int {
	r := c.Row
	r.Sent, r.Acknowledged, r.NotCopied, r.Refused, r.Unanswered = len(c.history.sends), 0, 0, 0, 0
	for _, s := range c.history.sends {
		switch {
		case s.ok():
			r.Acknowledged++
		case s.stored():
			r.NotCopied++
		case s.answered:
			r.Refused++
		default:
			r.Unanswered++
		}
	}
	return r.Acknowledged
}

// close ends all processes and takes away hosts and disks.
func (c *cell) close() {
	for _, s := range []testkit.Server{c.brokers[master], c.brokers[slave], c.namesrv} {
		if s != nil {
			_ = s.Kill()
		}
	}
	for _, d := range c.disks {
		if d != nil {
			d.close()
		}
	}
	if c.network != nil {
		c.network.close()
	}
}
