package ha

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// What two Apogees say to each other before the log is sent. A slave's first words are
//
//	1  helloMagic
//	2  version 1, and flags above its 32 bits
//	3  brokerId
//	4  where its log begins
//	5  how many bytes there are in front of its end that 6 is of; 0 for an empty log
//	6  CRC-32C of those
//	7  the end of its log
//
// in one write. Java's master looks at the last word of what it reads at once, which is the request that it expects, and answers with
// a frame. An Apogee's answers with control frames, whose size is negative: their 8 bytes are a number. Either
//
//	-3 ctlEnd      where the master's log ends
//	-1 ctlWelcome  the log is sent from there on: frames follow, and what the slave sends from now on are reports
//
// or, since the slave's log does not end inside of the master's, or its end is different there,
//
//	-2 ctlBegin    where the master's log begins
//	-3 ctlEnd      and where it ends
//
// and the slave looks for the place up to where both are the same, with words in threes:
//
//	opCompare, offset, n   the master answers -4 ctlSum: CRC-32C of those bytes of its log, or -1 if they are not all there
//	opFrom, offset, 0      the slave has cut its log there; the master answers as where nothing is wrong
//
// A slave whose greeting has flagNotes is told now and then how far its master is, between the frames, so that it knows how far it is behind:
//
//	-3 ctlEnd      where the master's log ends
//	-5 ctlTime     the store time of the last message there, in ms; 0 if that is not known
const (
	helloMagic int64 = -0x004150_4f474545_01 // negative: where Java's master should see it alone it waits for the next word
	helloWords       = 7
	version    int64 = 1

	flagLastFile int64 = 1 << 32 // an empty log begins with the master's last file
	flagNotes    int64 = 1 << 33 // the slave wants to be told how far its master is

	ctlWelcome int32 = -1
	ctlBegin   int32 = -2
	ctlEnd     int32 = -3
	ctlSum     int32 = -4
	ctlTime    int32 = -5

	opCompare int64 = -1001
	opFrom    int64 = -1002
	opWords         = 3

	tailMost    = 64 << 10 // of the slave's end that its greeting proves
	compareMost = 1 << 20
)

// hello is a slave's greeting.
type hello struct {
	id, begin, end int64
	lastFile       bool
	notes          bool
	tail           int64
	sum            uint32
}

func (h *hello) encode() []byte {
	flags := version
	if h.lastFile {
		flags |= flagLastFile
	}
	if h.notes {
		flags |= flagNotes
	}
	return putWords(helloMagic, flags, h.id, h.begin, h.tail, int64(h.sum), h.end)
}

func putWords(words ...int64) []byte {
	b := make([]byte, 0, len(words)*reportSize)
	for _, w := range words {
		b = binary.BigEndian.AppendUint64(b, uint64(w))
	}
	return b
}

// decodeHello reads the words behind the magic.
func decodeHello(w []int64) (h hello, err error) {
	h = hello{id: w[1], begin: w[2], tail: w[3], sum: uint32(w[4]), end: w[5], lastFile: w[0]&flagLastFile != 0, notes: w[0]&flagNotes != 0}
	switch {
	case w[0]&0xFFFFFFFF != version:
		err = fmt.Errorf("greeting of version %d: %w", w[0]&0xFFFFFFFF, errProtocol)
	case h.id < 0 || h.begin < 0 || h.end < h.begin || h.tail < 0 || h.tail > min(tailMost, h.end-h.begin) || h.tail == 0 && h.end > h.begin:
		err = fmt.Errorf("greeting with a log from %d to %d, %d of it proven: %w", h.begin, h.end, h.tail, errProtocol)
	}
	return h, err
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// greeting gathers the words of a slave that greets, up to where its log is sent.
type greeting struct {
	words [helloWords]int64
	n     int
	met   bool // the greeting itself has been answered
	heard bool // the magic has come
}

// wants tells whether a word is one of a greeting.
func (g *greeting) wants(w int64) bool { return g.heard || w == helloMagic }

// greet takes a word of a slave that greets.
func (p *peer) greet(w int64) error {
	g := &p.greeting
	if !g.heard {
		g.heard = true
		return nil
	}
	g.words[g.n] = w
	g.n++
	switch {
	case !g.met && g.n == helloWords-1:
		g.n, g.met = 0, true
		h, err := decodeHello(g.words[:])
		if err != nil {
			return err
		}
		return p.meet(&h)
	case g.met && g.n == opWords:
		g.n = 0
		return p.ask(g.words[0], g.words[1], g.words[2])
	}
	return nil
}

// meet answers a greeting.
func (p *peer) meet(h *hello) error {
	p.id.Store(h.id)
	p.notes = h.notes
	st := p.s.o.Store()
	begin, end := st.Bounds()
	from := h.end
	switch {
	case h.end == h.begin: // empty
		from = begin
		if h.lastFile {
			size := st.LogFileSize()
			from = max(end-end%size, begin)
		}
	case h.end > end || h.end-h.tail < begin || !p.same(h.end-h.tail, h.tail, h.sum):
		p.s.o.Log.Warn("the log of a replica is not the beginning of this one; it looks for the place where they part",
			"addr", p.addr, "id", h.id, "replica", h.end, "begin", begin, "end", end)
		return errors.Join(p.tell(ctlBegin, begin), p.tell(ctlEnd, end))
	}
	return p.welcome(from)
}

// welcome starts the sending. It is told first: nobody else writes until then.
func (p *peer) welcome(from int64) error {
	if err := errors.Join(p.tell(ctlEnd, p.s.end()), p.tell(ctlWelcome, from)); err != nil {
		return err
	}
	p.s.o.Log.Info("replica is sent the log", "addr", p.addr, "id", p.id.Load(), "from", from, "end", p.s.end())
	p.ack.Store(from)
	p.begin(from)
	return nil
}

// ask answers one question of a slave that looks for the place where the logs part.
func (p *peer) ask(op, off, n int64) error {
	switch op {
	case opCompare:
		if n <= 0 || n > compareMost || off < 0 {
			return fmt.Errorf("comparison of %d bytes at %d: %w", n, off, errProtocol)
		}
		sum := int64(-1)
		if got, err := p.sum(off, n); err == nil {
			sum = int64(got)
		}
		return p.tell(ctlSum, sum)
	case opFrom:
		begin, end := p.s.o.Store().Bounds()
		if off < begin || off > end {
			return fmt.Errorf("request for %d of a log from %d to %d: %w", off, begin, end, errProtocol)
		}
		return p.welcome(off)
	}
	return fmt.Errorf("question %d: %w", op, errProtocol)
}

func (p *peer) same(off, n int64, sum uint32) bool {
	got, err := p.sum(off, n)
	return err == nil && got == sum
}

func (p *peer) sum(off, n int64) (uint32, error) {
	b := make([]byte, n)
	if err := p.s.o.Store().CopyLog(off, b); err != nil {
		return 0, err
	}
	return crc32.Checksum(b, castagnoli), nil
}

// tell sends a control frame. The sender is not at work yet.
func (p *peer) tell(kind int32, value int64) error {
	var b [frameHead]byte
	putFrame(b[:], value, int(kind))
	_, err := bytes.NewReader(b[:]).WriteTo(p.conn)
	return err
}
