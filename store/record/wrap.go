package record

import "net/netip"

// WrapTopic is what a record is under that stands for damaged bytes. Nobody is given it: it is of the kind that ends a transaction without a
// message, which has no place in queues and index, in Java neither.
const WrapTopic = "RMQ_SYS_DAMAGED"

// Wrap makes a record of b, MinSize bytes or more that stand at a log offset and are none: readers step over it. Of its bytes only those ahead of
// body and from end on change.
func Wrap(b []byte, at, stored int64) (body, end int, err error) {
	m := Message{Topic: WrapTopic, SysFlag: SysTranRollback, PhysicalOffset: at, BornTimestamp: stored, StoreTimestamp: stored}
	m.BornHost = netip.AddrPortFrom(netip.IPv4Unspecified(), 0)
	m.StoreHost = m.BornHost
	if len(b) < MinSize+len(WrapTopic) {
		m.Topic = ""
	}
	body = offBornHost + hostV4 + 8 + hostV4 + 4 + 8 + 4 // behind the length of the body
	end = body + len(b) - MinSize - len(m.Topic)
	m.Body = b[body:end:end]
	m.BodyCRC = BodyCRC(m.Body)
	l, err := m.Measure(false)
	if err != nil {
		return 0, 0, err
	}
	Encode(b, &m, l)
	return body, end, nil
}

// Wrapped tells whether a record is such a one.
func (h *Header) Wrapped() bool {
	return h.Tran() == SysTranRollback && h.QueueID == 0 && len(h.Properties) == 0 && (string(h.Topic) == WrapTopic || len(h.Topic) == 0)
}
