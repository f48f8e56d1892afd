package escape

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"apogee/broker/config"
	"apogee/broker/meta"
	"apogee/broker/timer"
	"apogee/broker/transaction"
	"apogee/compat/body"
	"apogee/internal/leaktest"
	"apogee/remoting"
	"apogee/remoting/code"
	"apogee/remoting/header"
	"apogee/store"
	"apogee/store/record"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// fakeOthers are the other brokers: they note what they are sent.
type fakeOthers struct {
	remoting.Caller
	mu     sync.Mutex
	got    []string
	last   *header.SendMessageRequest
	answer int32
	err    error
	routes int
	acting bool
	silent bool // whoever is asked never answers
}

func (f *fakeOthers) Call(ctx context.Context, addr string, out remoting.Outgoing) (*remoting.Response, error) {
	if f.silent {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return nil, f.err
	}
	f.last = out.Header.(*header.SendMessageRequest)
	f.got = append(f.got, fmt.Sprintf("%s/%d %s", addr, f.last.QueueID, out.Body))
	return &remoting.Response{Code: f.answer}, nil
}

func (f *fakeOthers) route(_ context.Context, topic string) (*body.TopicRouteData, error) {
	f.routes++
	r := &body.TopicRouteData{
		BrokerDatas: []body.BrokerData{
			{BrokerName: "a", BrokerAddrs: map[int64]string{0: "self"}},
			{BrokerName: "b", BrokerAddrs: map[int64]string{0: "b:1", 1: "b:2"}},
			{BrokerName: "c", BrokerAddrs: map[int64]string{1: "c:2"}}, // no master
			{BrokerName: "d", BrokerAddrs: map[int64]string{0: "d:1"}},
		},
	}
	if topic == "nowhere" {
		return r, nil
	}
	for _, n := range []string{"a", "b", "c", "d"} {
		q := body.QueueData{BrokerName: n, ReadQueueNums: 4, WriteQueueNums: 2, Perm: body.PermRead | body.PermWrite}
		if n == "d" {
			q.Perm = body.PermRead
		}
		r.QueueDatas = append(r.QueueDatas, q)
	}
	return r, nil
}

func newBridge(f *fakeOthers, change ...func(*config.Broker)) *Bridge {
	c := &config.Broker{Name: "a", ID: 1, Role: store.Slave, SlaveActing: true, RemoteEscape: true, EscapeTimeout: time.Minute}
	for _, g := range change {
		g(c)
	}
	f.acting = true
	return New(context.Background(), Options{
		Config: config.NewLive(c), Caller: f, Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return time.UnixMilli(1) },
		Acting: func() bool { return f.acting }, Route: f.route,
	})
}

func TestOn(t *testing.T) {
	f := new(fakeOthers)
	for name, c := range map[string]struct {
		change func(*config.Broker)
		want   bool
	}{
		"acting":    {func(*config.Broker) {}, true},
		"master":    {func(c *config.Broker) { c.Role = store.AsyncMaster }, false},
		"no acting": {func(c *config.Broker) { c.SlaveActing = false }, false},
		"no escape": {func(c *config.Broker) { c.RemoteEscape = false }, false},
	} {
		if got := newBridge(f, c.change).On(); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	b := newBridge(f)
	f.acting = false
	if b.On() {
		t.Error("on though it does not act")
	}
}

func TestWhereMessagesGo(t *testing.T) {
	f := new(fakeOthers)
	s := &Store{Bridge: newBridge(f)}
	for i := range 3 {
		if r := s.Put(&record.Message{Topic: "t", QueueID: 7, Body: fmt.Append(nil, i)}, nil); r.Status != store.PutOK || r.Pending {
			t.Fatalf("result %+v", r)
		}
	}
	if got, want := fmt.Sprint(f.got), "[b:1/0 0 b:1/1 1 b:1/0 2]"; got != want || f.routes != 1 {
		t.Errorf("sent %s, want %s; %d routes", got, want, f.routes)
	}
	if r := s.Put(&record.Message{Topic: "nowhere"}, nil); r.Status != store.PutToRemoteBrokerFail || !errors.Is(r.Err, ErrNowhere) {
		t.Errorf("result %+v", r)
	}
	f.answer = code.SystemBusy
	if r := s.Stage(&record.Message{Topic: "t"}, nil); r.Status != store.PutToRemoteBrokerFail {
		t.Errorf("result %+v", r)
	}
	f.answer = code.FlushSlaveTimeout // it is stored
	if r := s.Stage(&record.Message{Topic: "t"}, nil); r.Status != store.PutOK {
		t.Errorf("result %+v", r)
	}
}

func TestWhatIsSent(t *testing.T) {
	props := func(kv ...string) string {
		var b []byte
		for i := 0; i < len(kv); i += 2 {
			b = record.AppendProperty(b, kv[i], kv[i+1])
		}
		return string(b)
	}
	cases := map[string]struct {
		m    record.Message
		want header.SendMessageRequest
	}{
		"due": {
			record.Message{Topic: "t", SysFlag: 1, Flag: 3, BornTimestamp: 9, ReconsumeTimes: 2, Properties: props(record.PropDelay, "3", timer.PropDeliver, "5", record.PropRealTopic, "t", "k", "v")},
			header.SendMessageRequest{ProducerGroup: "InnerProducerGroup_a_1", Topic: "t", SysFlag: 1, Flag: 3, BornTimestamp: 9, ReconsumeTimes: header.Some(int32(2)), Properties: props(record.PropRealTopic, "t", "k", "v")},
		},
		"for later": {
			record.Message{Topic: timer.Topic, Properties: props(timer.PropDeliver, "5", timer.PropOut, "5")},
			header.SendMessageRequest{ProducerGroup: "InnerProducerGroup_a_1", Topic: timer.Topic, ReconsumeTimes: header.Some(int32(0)), Properties: props(timer.PropDeliver, "5", timer.PropOut, "5")},
		},
		"half": {
			record.Message{Topic: meta.HalfTopic, Properties: props(record.PropRealTopic, "t", record.PropRealQueue, "3", transaction.PropProducerGroup, "pg", transaction.PropPreparedAt, "8", transaction.PropHalf, "true")},
			header.SendMessageRequest{ProducerGroup: "pg", Topic: "t", SysFlag: record.SysTranPrepared, ReconsumeTimes: header.Some(int32(0)), Properties: props(record.PropRealTopic, "t", transaction.PropProducerGroup, "pg", transaction.PropHalf, "true")},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			f := new(fakeOthers)
			if err := newBridge(f).Send(context.Background(), &c.m); err != nil {
				t.Fatal(err)
			}
			c.want.DefaultTopic, c.want.DefaultTopicQueueNums, c.want.Batch = meta.AutoCreateTopic, 8, header.Some(false)
			if *f.last != c.want {
				t.Errorf("sent %+v\nwant %+v", *f.last, c.want)
			}
		})
	}
}

type completion chan store.PutStatus

func (c completion) Complete(s store.PutStatus) { c <- s }

func TestCompletion(t *testing.T) {
	f := new(fakeOthers)
	b := newBridge(f)
	s := &Store{Bridge: b}
	c := make(completion, 1)
	buf := []byte("body")
	r := s.Stage(&record.Message{Topic: "t", Body: buf}, c)
	copy(buf, "over") // it is the caller's again
	if r.Status != store.PutOK || !r.Pending {
		t.Fatalf("result %+v", r)
	}
	if got := <-c; got != store.PutOK || f.got[0] != "b:1/0 body" {
		t.Errorf("status %v, sent %s", got, f.got)
	}
	b.Wait()
	f.err = errors.New("down")
	s.Stage(&record.Message{Topic: "t"}, c)
	if got := <-c; got != store.PutToRemoteBrokerFail {
		t.Errorf("status %v", got)
	}
	b.Wait()
}

func TestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeOthers{silent: true}
		b := newBridge(f, func(c *config.Broker) { c.EscapeTimeout = 7 * time.Second })
		began := time.Now()
		err := b.Send(t.Context(), &record.Message{Topic: "t"})
		if took := time.Since(began); !errors.Is(err, context.DeadlineExceeded) || took != 7*time.Second {
			t.Errorf("%v after %v", err, took)
		}
	})
}
