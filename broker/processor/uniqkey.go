package processor

import (
	"encoding/binary"
	"hash/maphash"
	"net/netip"
	"os"
	"sync/atomic"
	"time"
)

// uniqKeys makes unique keys for messages that come without one (MessageClientIDSetter). The key is the upper-case hex of
//
//	size    field
//	4 or 16 address of this broker
//	2       process id
//	4       something of this instance (Java: hash of a class loader)
//	4       milliseconds since the start of the month, local time
//	2       counter
//
// Only mqadmin reads it, for the time.
type uniqKeys struct {
	pid      uint16
	instance uint32
	counter  atomic.Uint32
	month    atomic.Pointer[month]
}

type month struct{ start, next int64 } // ms

func newUniqKeys() *uniqKeys {
	return &uniqKeys{pid: uint16(os.Getpid()), instance: uint32(maphash.String(maphash.MakeSeed(), "instance"))}
}

func (u *uniqKeys) append(dst []byte, host netip.Addr, now time.Time) []byte {
	var raw [28]byte
	n := 4
	if host.Is6() && !host.Is4In6() {
		a := host.As16()
		n = copy(raw[:], a[:])
	} else if host.IsValid() {
		a := host.Unmap().As4()
		copy(raw[:], a[:])
	}
	ms := now.UnixMilli()
	m := u.month.Load()
	if m == nil || ms < m.start || ms >= m.next {
		year, mon, _ := now.Date()
		m = &month{
			start: time.Date(year, mon, 1, 0, 0, 0, 0, now.Location()).UnixMilli(),
			next:  time.Date(year, mon+1, 1, 0, 0, 0, 0, now.Location()).UnixMilli(),
		}
		u.month.Store(m)
	}
	binary.BigEndian.PutUint16(raw[n:], u.pid)
	binary.BigEndian.PutUint32(raw[n+2:], u.instance)
	binary.BigEndian.PutUint32(raw[n+6:], uint32(ms-m.start))
	binary.BigEndian.PutUint16(raw[n+10:], uint16(u.counter.Add(1)))
	return appendHex(dst, raw[:n+12])
}

// appendHex appends upper-case hex.
func appendHex(dst, raw []byte) []byte {
	const digits = "0123456789ABCDEF"
	for _, c := range raw {
		dst = append(dst, digits[c>>4], digits[c&15])
	}
	return dst
}
