package store

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"apogee/store/record"
)

// walk calls fn for the records of the log in [from, to), about so many at most. It returns the offset after the last one, and
// how many there were. fn's error ends the walk at the record that it is about. The header's physical offset is the record's
// true place; both arguments die with the call.
//
// A walk ends at the end of a file. Where no record can be read it goes on behind the damage, as Java does (spec: store.md 7).
func (s *Store) walk(from, to int64, most int, fn func(h *record.Header, rec []byte) error) (next int64, n int, err error) {
	l := s.commit
	if begin := l.begin(); from < begin {
		return begin, 0, nil // the files are gone
	}
	b, f, err := l.holdRest(from, to)
	if err != nil {
		if errors.Is(err, errFileGone) {
			return max(from, l.begin()), 0, nil
		}
		return from, 0, err
	}
	if f == nil {
		return from, 0, nil
	}
	defer f.release()
	next = from
	err = f.guard(func() error {
		var h record.Header
		for n < most && len(b) > 0 {
			if end := s.damagedUntil(next); end > next { // nobody needs to hear of it again
				skip := min(end-next, int64(len(b)))
				next, b = next+skip, b[skip:]
				continue
			}
			skip, err := s.step(b, next, &h)
			if err == nil && skip == h.Size {
				h.PhysicalOffset = next
				err = fn(&h, b[:h.Size])
				n++
			}
			if err != nil {
				return err
			}
			if skip > len(b) {
				next = l.nextFile(next)
				return nil
			}
			next, b = next+int64(skip), b[skip:]
		}
		return nil
	})
	return next, n, err
}

// step parses what starts b, and tells how far to go on: the record's size, more than there is for the next file.
func (s *Store) step(b []byte, off int64, h *record.Header) (int, error) {
	err := record.Parse(b, h)
	switch {
	case err == nil:
		return h.Size, nil
	case errors.Is(err, record.ErrBlank):
		return math.MaxInt, nil
	case errors.Is(err, record.ErrMalformed) && h.Size > 0:
		s.log.Error("invalid record in the commit log, skipped", "off", off, "size", h.Size, "err", err)
		size := h.Size
		h.Size = -1
		return size, nil
	default:
		skip := nextRecord(b, off, 1, h)
		if skip < 0 {
			skip = len(b)
		}
		s.log.Error("no record in the commit log, bytes skipped", "off", off, "bytes", skip, "err", err)
		h.Size = -1
		return skip, nil
	}
}

// enterRecord dispatches a record that was read from the log. Under the right to dispatch.
func (d *dispatcher) enterRecord(h *record.Header, _ []byte) error {
	d.lastPhys, d.lastEnd, d.lastTime = h.PhysicalOffset, h.PhysicalOffset+int64(h.Size), h.StoreTimestamp
	if code, multi := d.enterOwn(h); multi {
		d.enterMulti(h, code)
	}
	return nil
}

// enterOwn gives the queue that a record is put to its entry. multi tells whether the record is for further queues, with the same tags code.
func (d *dispatcher) enterOwn(h *record.Header) (code int64, multi bool) {
	if t := h.Tran(); t == record.SysTranPrepared || t == record.SysTranRollback || h.QueueID < 0 {
		return 0, false
	}
	words := record.ReadWords(stringView(h.Properties))
	code = record.TagsCode(stringView(h.Topic), words.Tags, words.Delay, h.StoreTimestamp, d.s.delays)
	q := d.s.queues.getOrCreate(stringView(h.Topic), h.QueueID)
	if q.kind == BatchQueue {
		d.enterBatch(q, h, code)
	} else {
		d.enter(q, h.QueueOffset, h.PhysicalOffset, int32(h.Size), code, h.StoreTimestamp)
	}
	return code, words.Multi
}

// digest is what dispatch needs to know of a message that is about to be put.
func (s *Store) digest(d *digest, q *queue, m *record.Message) {
	*d = digest{}
	words := m.Words()
	if words.Multi {
		d.multi = multiDispatched(s.options(), m.Topic) && !undelivered(m.Topic)
	}
	d.inner = m.SysFlag&record.SysInnerBatch != 0
	if words.Delay != "" && q.topic == record.ScheduleTopic {
		// The due time counts from the store time, which is not known yet.
		if level := record.DelayLevel(words.Delay, len(s.delays)); level > 0 {
			d.tags, d.timed = s.delays[level-1], true
		}
	}
	if !d.timed {
		d.tags = int64(record.HashString(words.Tags))
	}
	if s.index == nil || !s.index.build || m.SysFlag&record.SysTranMask == record.SysTranRollback {
		return
	}
	keys := indexKeys{topic: q.keyHash, words: words}
	for {
		hash, ok := keys.next()
		if !ok {
			return
		}
		if int(d.nkeys) == len(d.keys) {
			d.nkeys = tooManyKeys
			return
		}
		d.keys[d.nkeys] = hash
		d.nkeys++
	}
}

// indexKeys are the index keys of a record (IndexService.buildIndex): its unique key, each of its keys, its tags.
type indexKeys struct {
	topic int32 // keyHash of the topic
	words record.Words
}

// next takes one key and returns its hash.
func (k *indexKeys) next() (hash int32, ok bool) {
	w := &k.words
	if w.Uniq != "" {
		hash, w.Uniq = record.HashMore(k.topic, w.Uniq), ""
		return hash, true
	}
	for w.Keys != "" {
		word := w.Keys
		if i := strings.IndexByte(word, ' '); i >= 0 {
			word, w.Keys = word[:i], word[i+1:]
		} else {
			w.Keys = ""
		}
		if word != "" {
			return record.HashMore(k.topic, word), true
		}
	}
	if w.Tags != "" {
		hash, w.Tags = record.HashMore(tagsHash(k.topic), w.Tags), ""
		return hash, true
	}
	return 0, false
}

// keyHash starts the index hash of a topic's keys: that of "topic#".
func keyHash(topic string) int32 { return record.HashMore(record.HashString(topic), "#") }

// tagsHash starts that of its tags: "topic#T#".
func tagsHash(topic int32) int32 { return record.HashMore(topic, "T#") }

// stringView is the string that shares b's bytes.
func stringView(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// parseDelays reads messageDelayLevel: "1s 5s 10s ..." to ms by level.
func parseDelays(text string) ([]int64, error) {
	units := map[byte]time.Duration{'s': time.Second, 'm': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour}
	var delays []int64
	for _, word := range strings.Fields(text) {
		unit, ok := units[word[len(word)-1]]
		n, err := strconv.ParseInt(word[:len(word)-1], 10, 64)
		if !ok || err != nil || n < 0 {
			return nil, fmt.Errorf("messageDelayLevel=%s: %q is not a delay", text, word)
		}
		delays = append(delays, n*unit.Milliseconds())
	}
	return delays, nil
}
