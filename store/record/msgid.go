package record

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"net/netip"
)

// ErrMessageID is an offset message id that cannot be read.
var ErrMessageID = errors.New("record: not an offset message id")

// MaxMessageID is the longest offset message id, that of an IPv6 host.
const MaxMessageID = 2 * (hostV6 + 8)

// AppendMessageID appends the offset message id: upper-case hex of the host as in a record (8 or 20 bytes) and the physical offset.
func AppendMessageID(dst []byte, storeHost netip.AddrPort, physical int64) []byte {
	const digits = "0123456789ABCDEF"
	var raw [hostV6 + 8]byte
	n := putHost(raw[:], storeHost, isV6(storeHost))
	binary.BigEndian.PutUint64(raw[n:], uint64(physical))
	for _, c := range raw[:n+8] {
		dst = append(dst, digits[c>>4], digits[c&15])
	}
	return dst
}

// ParseMessageID is the reverse; both cases of the digits are taken.
func ParseMessageID(id string) (storeHost netip.AddrPort, physical int64, err error) {
	n := len(id)/2 - 8
	if len(id)%2 != 0 || n != hostV4 && n != hostV6 {
		return netip.AddrPort{}, 0, ErrMessageID
	}
	var raw [hostV6 + 8]byte
	if _, err := hex.Decode(raw[:], []byte(id)); err != nil {
		return netip.AddrPort{}, 0, ErrMessageID
	}
	if binary.BigEndian.Uint32(raw[n-4:]) > 0xFFFF {
		return netip.AddrPort{}, 0, ErrMessageID
	}
	storeHost, _ = readHost(raw[:], n == hostV6)
	return storeHost, int64(binary.BigEndian.Uint64(raw[n:])), nil
}
