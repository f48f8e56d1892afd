package inspect

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
)

// Sizes of the timer's files (docs/format/timer.md).
const (
	TimerUnitSize  = 52
	TimerBlankSize = 16 // the mark at the end of a file of the timer log
	TimerSlotSize  = 32
	TimerSlots     = 2 * 7 * 24 * 3600
	TimerWheelSize = TimerSlots * TimerSlotSize
	TimerCheckSize = 56
)

// Bits of a timer unit.
const (
	TimerRolled = 2 // the message is put again when its slot comes
	TimerCancel = 4 // it cancels another one

	timerBits = 0xF
)

// TimerUnit is one entry of the timer log.
type TimerUnit struct {
	Position  int64 `json:"position"`
	Before    int64 `json:"before"` // the unit before it in the same slot, -1 for none
	Magic     int32 `json:"magic"`
	Entered   int64 `json:"entered"` // ms
	Delay     int32 `json:"delay"`   // ms from then to the time of its slot
	Phys      int64 `json:"physicalOffset"`
	Size      int32 `json:"size"`
	TopicHash int32 `json:"topicHash"`
}

// Time is the time of the unit's slot, ms.
func (u *TimerUnit) Time() int64 { return u.Entered + int64(u.Delay) }

// ParseTimerUnit reads the unit at the start of b; its position is where it stands. ok is false where there is none; end says that the rest of
// the file is marked as unused.
//
//	offset size field
//	     0    4 52
//	     4    8 position of the unit before it in the same slot, -1 without any
//	    12    4 bits: 1 always, 2 rolled, 4 a cancellation
//	    16    8 when it was entered, ms
//	    24    4 ms from then to the time of its slot
//	    28    8 commit-log offset of the message
//	    36    4 its size
//	    40    4 hash of its real topic
//	    44    8 0
func ParseTimerUnit(b []byte) (u TimerUnit, ok, end bool) {
	if len(b) < TimerBlankSize {
		return u, false, false
	}
	be := binary.BigEndian
	magic := be.Uint32(b[12:])
	if magic == blankMagic {
		return u, false, true
	}
	if len(b) < TimerUnitSize || be.Uint32(b) != TimerUnitSize || magic&^timerBits != 0 {
		return u, false, false
	}
	u = TimerUnit{
		Before: int64(be.Uint64(b[4:])), Magic: int32(magic), Entered: int64(be.Uint64(b[16:])), Delay: int32(be.Uint32(b[24:])),
		Phys: int64(be.Uint64(b[28:])), Size: int32(be.Uint32(b[36:])), TopicHash: int32(be.Uint32(b[40:])),
	}
	return u, u.Before >= -1 && u.Phys >= 0 && u.Size > 0 && u.Entered >= 0 && u.Time() >= 0, false
}

// blankMagic marks the unused rest of a file, here as in the commit log.
const blankMagic = 0xCBD43194

// TimerSlot is one slot of the timer wheel.
type TimerSlot struct {
	Index int   `json:"index"`
	Time  int64 `json:"time"`  // in units of the precision
	First int64 `json:"first"` // position of the oldest unit of the slot in the timer log
	Last  int64 `json:"last"`
	Num   int32 `json:"num"` // messages less cancellations
	Magic int32 `json:"magic,omitempty"`
}

// ParseTimerSlot reads a slot of 32 bytes; ok is false for one that was never used.
func ParseTimerSlot(b []byte) (s TimerSlot, ok bool) {
	if len(b) < TimerSlotSize {
		return s, false
	}
	be := binary.BigEndian
	s = TimerSlot{
		Time: int64(be.Uint64(b)), First: int64(be.Uint64(b[8:])), Last: int64(be.Uint64(b[16:])), Num: int32(be.Uint32(b[24:])), Magic: int32(be.Uint32(b[28:])),
	}
	return s, s != TimerSlot{}
}

// TimerCheckpoint is config/timercheck.
type TimerCheckpoint struct {
	ReadTime     int64 `json:"lastReadTimeMs"` // all slots before this are delivered
	LogFlushed   int64 `json:"lastTimerLogFlushPos"`
	QueueOffset  int64 `json:"lastTimerQueueOffset"` // in the timer topic, of the next message to enter
	MasterOffset int64 `json:"masterTimerQueueOffset"`
	StateVersion int64 `json:"stateVersion"`
	Timestamp    int64 `json:"timestamp"`
	Counter      int64 `json:"counter"`
}

// ParseTimerCheckpoint reads the seven numbers at the start of the file.
func ParseTimerCheckpoint(b []byte) (*TimerCheckpoint, error) {
	if len(b) < TimerCheckSize {
		return nil, fmt.Errorf("timer checkpoint of %d bytes", len(b))
	}
	var v [7]int64
	for i := range v {
		if v[i] = int64(binary.BigEndian.Uint64(b[8*i:])); v[i] < 0 {
			return nil, fmt.Errorf("number %d of the timer checkpoint is %d", i, v[i])
		}
	}
	return &TimerCheckpoint{v[0], v[1], v[2], v[3], v[4], v[5], v[6]}, nil
}

// Epoch is one entry of the epoch file of controller mode: a master's term, and where in the log it began.
type Epoch struct {
	Epoch int32 `json:"epoch"`
	Start int64 `json:"startOffset"`
}

// ParseEpochs reads an epoch file: the number of entries, their checksum (0 is not checked), then a line epoch-offset for each.
func ParseEpochs(text string) ([]Epoch, error) {
	head, rest, _ := strings.Cut(text, "\n")
	sum, rest, _ := strings.Cut(rest, "\n")
	n, err := strconv.Atoi(strings.TrimSpace(head))
	if err != nil || n < 0 {
		return nil, fmt.Errorf("epoch file: %.20q is no number of entries", head)
	}
	want, err := strconv.ParseUint(strings.TrimSpace(sum), 10, 32)
	if err != nil {
		return nil, fmt.Errorf("epoch file: %.20q is no checksum", sum)
	}
	var out []Epoch
	for line := range strings.Lines(rest) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		epoch, start, ok := strings.Cut(line, "-")
		e, err := strconv.ParseInt(epoch, 10, 32)
		at, err2 := strconv.ParseInt(start, 10, 64)
		if !ok || err != nil || err2 != nil || at < 0 {
			return out, fmt.Errorf("epoch file: %.40q is no epoch and offset", line)
		}
		if k := len(out); k > 0 && (int32(e) <= out[k-1].Epoch || at < out[k-1].Start) {
			return out, fmt.Errorf("epoch file: %.40q does not follow the entry before it", line)
		}
		out = append(out, Epoch{int32(e), at})
	}
	if len(out) != n {
		return out, fmt.Errorf("epoch file: %d entries, it says %d", len(out), n)
	}
	if got := crc32.ChecksumIEEE([]byte(rest)) & 0x7FFFFFFF; want != 0 && uint64(got) != want {
		return out, fmt.Errorf("epoch file: the checksum is %d, it says %d", got, want)
	}
	return out, nil
}

// Identity is the file brokerIdentity of controller mode.
type Identity struct {
	Cluster   string `json:"cluster"`
	Broker    string `json:"broker"`
	ID        int64  `json:"id"`
	CheckCode string `json:"checkCode,omitempty"` // of brokerIdentity-temp
}

// ParseIdentity reads cluster#broker#id, with a check code behind them in brokerIdentity-temp.
func ParseIdentity(text string) (*Identity, error) {
	parts := strings.Split(strings.TrimSpace(text), "#")
	if len(parts) != 3 && len(parts) != 4 {
		return nil, fmt.Errorf("broker identity: %.80q is not cluster#broker#id", text)
	}
	id, err := strconv.ParseInt(parts[2], 10, 64)
	if err != nil || parts[0] == "" || parts[1] == "" {
		return nil, fmt.Errorf("broker identity: %.80q is not cluster#broker#id", text)
	}
	out := &Identity{Cluster: parts[0], Broker: parts[1], ID: id}
	if len(parts) == 4 {
		out.CheckCode = parts[3]
	}
	return out, nil
}
