package processor

import (
	"fmt"

	"apogee/broker/delay"
	"apogee/broker/timer"
	"apogee/remoting/code"
	"apogee/store/record"
)

// What a message says of its delivery time takes effect when it is put, whoever puts it (HookUtils.handleScheduleMessage):
//
//   - DELAY above 0 sends it to the schedule topic, and the times of the timer are dropped
//   - otherwise the first present of TIMER_DELAY_SEC, TIMER_DELAY_MS, TIMER_DELIVER_MS sends it to the timer topic: 1 without a timer
//     wheel; 13 for what is no number, for more than timerMaxDelaySec ahead, and for a cancellation whose time has passed; 1 while its
//     slot is full. A time that has passed makes an ordinary message
//   - a message that has TIMER_OUT_MS comes from the timer topic, and goes where it says

// refusal is the answer to a message that is not taken; code 0 is none.
type refusal struct {
	code   int32
	remark string
}

// timing finds the slot of a message that asks for a time.
func (p *Processor) timing(v *sendView, ask *timer.Ask) (out int64, verdict timer.Verdict, no refusal) {
	cfg := v.cfg
	if p.Timers == nil {
		return 0, timer.Illegal, refusal{code.SystemError, remarkNoTimer}
	}
	out, verdict = v.timers.Out(ask, p.Now().UnixMilli())
	switch {
	case verdict == timer.Illegal:
		no = refusal{code.MessageIllegal, fmt.Sprintf("timer message illegal, the delay time should not be bigger than the max delay %dms; "+
			"or if set del msg, the delay time should be bigger than the current time", v.timers.MaxDelay)}
	case verdict == timer.Timed && p.Timers.Full(out, cfg.TimerCongest):
		most := int64(cfg.TimerCongest)
		no = refusal{code.SystemError, fmt.Sprintf("timer message is under flow control, max num limit is %d or the current value is "+
			"greater than %d and less than %d, trigger random flow control", 2*most, most, 2*most)}
	}
	return out, verdict, no
}

// schedule is what happens at the put of a message that no producer sent just now: a committed transaction, a recall. New properties are
// built in buf, which is returned either way.
func (p *Processor) schedule(m *record.Message, buf []byte) ([]byte, refusal) {
	if tran := m.SysFlag & record.SysTranMask; tran == record.SysTranPrepared || tran == record.SysTranRollback {
		return buf, refusal{}
	}
	v := p.sendView()
	var ask timer.Ask
	level, worked := "", false
	for c := record.Pairs(bytesOf(m.Properties)); c.Next(); {
		switch string(c.Name) {
		case record.PropDelay:
			level = viewOf(c.Value)
		case timer.PropOut:
			worked = true
		default:
			noteAsk(&ask, viewOf(c.Name), viewOf(c.Value))
		}
	}
	n, clipped, err := v.levels.Of(level)
	switch {
	case err != nil:
		return buf, refusal{code.SystemError, err.Error()}
	case n > 0:
		if ask.Asks() {
			m.Properties = viewOf(record.AppendPairs(nil, m.Properties, timer.PropDelaySec, timer.PropDelayMs, timer.PropDeliver))
		}
		return delay.Schedule(m, n, clipped, buf), refusal{}
	case ask.Asks() && !worked && m.Topic != timer.Topic:
		out, verdict, no := p.timing(v, &ask)
		if no.code != 0 {
			return buf, no
		}
		if verdict == timer.Timed {
			return timer.Schedule(m, out, buf), refusal{}
		}
	}
	return buf, refusal{}
}
