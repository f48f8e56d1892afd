package processor

import (
	"testing"

	"apogee/broker/acting"
	"apogee/broker/config"
	"apogee/compat/body"
	"apogee/remoting/code"
	"apogee/remoting/header"
	"apogee/store"
)

func slaveConf(c *config.Broker) { c.Role, c.ID = store.Slave, 1 }

func TestSlaveRefuses(t *testing.T) {
	send := header.Fields{{Key: "a", Value: "pg"}, {Key: "b", Value: "tA"}, {Key: "e", Value: "0"}, {Key: "f", Value: "0"}, {Key: "g", Value: "1"}, {Key: "h", Value: "0"}}
	back := header.Fields{{Key: "offset", Value: "0"}, {Key: "group", Value: "cg"}, {Key: "delayLevel", Value: "0"}}
	reset := header.Fields{{Key: "topic", Value: "tA"}, {Key: "group", Value: "cg"}, {Key: "timestamp", Value: "0"}, {Key: "isForce", Value: "true"}}
	acting := func(c *config.Broker) { slaveConf(c); c.SlaveActing = true }
	readable := func(c *config.Broker) { slaveConf(c); c.SlaveRead = true }
	cases := map[string]struct {
		conf   func(*config.Broker)
		code   int32
		fields header.Fields
		want   int32
		remark string
	}{
		"send":                  {slaveConf, code.SendMessageV2, send, code.SystemBusy, remarkRejected},
		"send back":             {slaveConf, code.ConsumerSendMsgBack, back, code.SystemBusy, remarkRejected},
		"send back, acting":     {acting, code.ConsumerSendMsgBack, back, code.SystemError, "no master available along with 127.0.0.1"},
		"pull":                  {slaveConf, code.PullMessage, pullFields("tA", 0), code.SystemBusy, remarkRejected},
		"pull where readable":   {readable, code.PullMessage, pullFields("tA", 3), code.PullNotFound, "OFFSET_OVERFLOW_ONE"},
		"end of a transaction":  {acting, code.EndTransaction, endFields(8), code.SlaveNotAvailable, remarkUnset},
		"reset of a group":      {acting, code.InvokeBrokerToResetOffset, reset, code.SystemError, "Can not reset offset in slave broker"},
		"pull of a reset queue": {readable, code.PullMessage, pullFields("tA", 90), code.PullRetryImmediately, "OFFSET_OVERFLOW_BADLY"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			g := pullRig(t, c.conf)
			a := g.call(c.code, c.fields, "")
			if a.code != c.want || c.remark != "" && a.remark != c.remark {
				t.Errorf("answer %v", a)
			}
		})
	}
}

func TestLastPageIsNotOneEntry(t *testing.T) {
	for _, c := range []struct{ seq, most, total, from, to int }{
		{0, 10, 11, 0, 11}, {0, 10, 12, 0, 10}, {10, 10, 21, 10, 21}, {0, 1, 2, 0, 1}, {10, 10, 20, 10, 20}, {20, 10, 21, 20, 21}, {0, 3, 3, 0, 3},
	} {
		v := `{"counter":0,"stateVersion":0,"timestamp":0}`
		from, to := page(int32(c.seq), header.Some(int32(c.most)), 2000, c.total, v, body.DataVersion{})
		if from != c.from || to != c.to {
			t.Errorf("%+v: %d to %d", c, from, to)
		}
	}
}

// fakeActing is a broker on duty that notes what it is told.
type fakeActing struct {
	idle    bool
	notices []acting.Notice
	infos   []acting.Info
}

func (f *fakeActing) Active() bool           { return !f.idle }
func (f *fakeActing) Notify(n acting.Notice) { f.notices = append(f.notices, n) }
func (f *fakeActing) HAInfo() acting.Info {
	return acting.Info{HAAddr: "ha:1", Addr: "a:1", Flushed: 7}
}
func (f *fakeActing) TakeHAInfo(info acting.Info) { f.infos = append(f.infos, info) }

func TestActingRequests(t *testing.T) {
	g := newRig(t)
	f := g.Acting.(*fakeActing)
	if a := g.call(code.NotifyMinBrokerIDChange, header.Fields{{Key: "minBrokerId", Value: "1"}, {Key: "minBrokerAddr", Value: "b:1"}, {Key: "offlineBrokerAddr", Value: "a:1"}}, ""); a.code != 0 {
		t.Errorf("answer %v", a)
	}
	if len(f.notices) != 1 || f.notices[0] != (acting.Notice{ID: 1, Addr: "b:1", Offline: "a:1"}) {
		t.Errorf("notices %+v", f.notices)
	}
	if a := g.call(code.NotifyMinBrokerIDChange, nil, ""); a.code != code.SystemError || len(f.notices) != 1 {
		t.Errorf("answer to an empty notice %v", a)
	}
	if a := g.call(code.ExchangeBrokerHAInfo, nil, ""); a.code != 0 || a.ext["masterHaAddress"] != "ha:1" || a.ext["masterAddress"] != "a:1" || a.ext["masterFlushOffset"] != "7" {
		t.Errorf("master's answer %v", a)
	}
	g.set(slaveConf)
	if a := g.call(code.ExchangeBrokerHAInfo, nil, ""); a.code != 0 || len(a.ext) != 0 {
		t.Errorf("slave's answer %v", a)
	}
	if a := g.call(code.ExchangeBrokerHAInfo, header.Fields{{Key: "masterHaAddress", Value: "m:2"}, {Key: "masterFlushOffset", Value: "9"}, {Key: "masterAddress", Value: "m:1"}}, ""); a.code != 0 {
		t.Errorf("answer %v", a)
	}
	if len(f.infos) != 1 || f.infos[0] != (acting.Info{HAAddr: "m:2", Addr: "m:1", Flushed: 9}) {
		t.Errorf("told %+v", f.infos)
	}
}
