package failover

import (
	"crypto/sha256"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"apogee/conformance/wire"
)

// place is a queue of a pair.
type place struct {
	pair  string
	queue int
}

func (p place) String() string { return fmt.Sprint(p.pair, "/", p.queue) }

// book is what was read of each queue, from whichever broker, and what producers were told. What should not be is a finding.
type book struct {
	said func(format string, args ...any)

	mu       sync.Mutex // guards what follows
	read     map[place][]entry
	acked    []receipt
	findings []string
	times    map[string]int // of a message that was stored more than once
}

// entry is one record: its hash, which its place in the log is part of, and the message.
type entry struct {
	sum [16]byte
	id  string
}

// receipt says that a message was acknowledged.
type receipt struct {
	place
	offset int64
	id     string
}

func newBook(said func(string, ...any)) *book {
	return &book{said: said, read: map[place][]entry{}, times: map[string]int{}}
}

// differ notes a finding; one of a kind is enough for the reader of a report, but all are counted.
func (b *book) differ(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.differLocked(format, args...)
}

func (b *book) differLocked(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	b.findings = append(b.findings, text)
	if len(b.findings) <= 20 {
		b.said("FOUND: %s", text)
	}
}

func (b *book) found() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string(nil), b.findings...)
}

func (b *book) confirm(p place, offset int64, id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.acked = append(b.acked, receipt{p, offset, id})
}

func (b *book) receipts() []receipt {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]receipt(nil), b.acked...)
}

// saw takes records that follow each other from an offset on, as some broker has given them.
func (b *book) saw(p place, from string, at int64, recs []wire.Record) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range recs {
		rec, off := &recs[i], at+int64(i)
		if rec.QueueOffset != off || rec.QueueID != p.queue {
			b.differLocked("%v at %d: %s gives %d of queue %d", p, off, from, rec.QueueOffset, rec.QueueID)
			return
		}
		sum := sha256.Sum256(rec.Raw)
		id, _, _ := strings.Cut(string(rec.Body), " ")
		e := entry{[16]byte(sum[:16]), id}
		list := b.read[p]
		switch {
		case off == int64(len(list)):
			b.read[p] = append(list, e)
			b.times[id]++
		case off > int64(len(list)):
			b.differLocked("%v at %d: read before what comes before it, of which there is %d", p, off, len(list))
			return
		case list[off] != e:
			b.differLocked("%v at %d: %s gives %s, at %d of the log, where %s was read before", p, off, from, id, rec.Physical, list[off].id)
		}
	}
}

// judge looks for all that was acknowledged, and whether messages of one producer are in the order that it sent them in.
func (b *book) judge() (acked, read, twice int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range b.acked {
		list := b.read[r.place]
		switch {
		case r.offset >= int64(len(list)):
			b.differLocked("%s was acknowledged as %v at %d, and is gone: that queue has %d", r.id, r.place, r.offset, len(list))
		case list[r.offset].id != r.id:
			b.differLocked("%s was acknowledged as %v at %d, where there is %s", r.id, r.place, r.offset, list[r.offset].id)
		}
	}
	for p, list := range b.read {
		last := map[string]int{}
		for off, e := range list {
			sender, number, _ := strings.Cut(e.id, "-")
			n, err := strconv.Atoi(number)
			if err != nil || n < last[sender] {
				b.differLocked("%v at %d: %s comes after %s-%d", p, off, e.id, sender, last[sender])
			}
			last[sender] = n
		}
		read += len(list)
	}
	for _, n := range b.times {
		if n > 1 {
			twice++
		}
	}
	return len(b.acked), read, twice
}
