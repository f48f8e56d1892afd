package migrate

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"

	"apogee/store/record"
)

// compare reads source and copy from end to end: each record of the one is in the other, with the same bytes but for what must differ, and so is
// each entry of each queue, and it leads to its record.
func (r *run) compare() error {
	r.rep.Rewritten = r.rewrites()
	if err := r.compareLogs(); err != nil {
		return fmt.Errorf("compare: %w", err)
	}
	for _, q := range r.queues {
		if err := r.compareQueue(q); err != nil {
			return fmt.Errorf("compare %s/%s/%s: %w", q.tree, q.topic, q.id, err)
		}
		if q.tree != extTree {
			r.rep.Queues++
		}
	}
	return nil
}

var errDiffers = errors.New("source and copy differ")

func (r *run) compareLogs() error {
	if len(r.log) == 0 {
		return nil
	}
	files, err := segments(r.FS, r.DstLog)
	if err != nil {
		return err
	}
	if len(files) == 0 {
		if a, _, err := r.walk(r.log, r.j.Begin).next(); err != nil || a != nil {
			return errors.Join(err, fmt.Errorf("%w: the copy has no log", errDiffers))
		}
		return nil // there are no records
	}
	src, dst := r.walk(r.log, r.j.Begin), r.walk(files, files[0].base)
	defer src.close()
	defer dst.close()
	sums := map[string]uint64{}
	for {
		a, from, err := src.next()
		if err != nil {
			return err
		}
		b, to, err := dst.next()
		if err != nil {
			return err
		}
		if a == nil || b == nil {
			if a != nil || b != nil {
				return fmt.Errorf("%w: after %d records one ends, at %d and %d", errDiffers, r.rep.Records, from, to)
			}
			break
		}
		if r.rewrites() {
			r.place(a, to)
		}
		if to != r.j.Pieces.of(from) || !bytes.Equal(a, b) {
			return fmt.Errorf("%w: record at %d, %d in the copy", errDiffers, from, to)
		}
		if src.h.CheckBody() != nil {
			r.rep.DamagedBody++
		}
		r.rep.Records++
		r.rep.Bytes += int64(len(a))
		addTo(sums, &src.h)
	}
	r.rep.Digest = digest(sums)
	return nil
}

// addTo continues the hash of a record's queue, over what of it does not depend on its place in the log.
func addTo(sums map[string]uint64, h *record.Header) {
	key := fmt.Sprintf("%s/%d", h.Topic, h.QueueID)
	f := fnv.New64a()
	var b [24]byte
	binary.BigEndian.PutUint64(b[:], sums[key])
	binary.BigEndian.PutUint64(b[8:], uint64(h.QueueOffset))
	binary.BigEndian.PutUint64(b[16:], uint64(h.StoreTimestamp))
	for _, part := range [][]byte{b[:], h.Body, h.Properties} {
		_, _ = f.Write(part)
	}
	sums[key] = f.Sum64()
}

func digest(sums map[string]uint64) string {
	keys := make([]string, 0, len(sums))
	for k := range sums {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, strings.Compare)
	all := sha256.New()
	for _, k := range keys {
		fmt.Fprintf(all, "%s %x\n", k, sums[k])
	}
	return hex.EncodeToString(all.Sum(nil))[:16]
}

// compareQueue compares a queue's entries, by their offsets.
func (r *run) compareQueue(q queueDir) error {
	if q.tree == extTree {
		return nil
	}
	unit := unitOf[q.tree]
	src, err := r.unitsOf(q.path(r.Src), unit)
	if err != nil {
		return err
	}
	dst, err := r.unitsOf(q.path(r.Dst), unit)
	if err != nil {
		return err
	}
	// The copy's first file may begin earlier, with fill.
	for q.tree == simpleTree && dst.next < src.next {
		b, err := dst.unit()
		if err != nil || b == nil || binary.BigEndian.Uint32(b[8:]) != blankSize {
			return errors.Join(err, fmt.Errorf("%w: entry %d of the copy is not fill", errDiffers, dst.next/unit))
		}
	}
	for {
		a, err := src.unit()
		if err != nil {
			return err
		}
		b, err := dst.unit()
		if err != nil {
			return err
		}
		if a == nil && b == nil {
			return nil
		}
		if a != nil {
			a = slices.Clone(a)
			r.place20(a)
		}
		if !bytes.Equal(a, b) {
			return fmt.Errorf("%w: entry %d", errDiffers, src.next/unit-1)
		}
	}
}

// units reads the entries of a queue, one after the other.
type units struct {
	r     *run
	files []segment
	unit1 int64
	next  int64
	buf   []byte
	from  int64
}

func (r *run) unitsOf(dir string, unit int64) (*units, error) {
	files, err := segments(r.FS, dir)
	u := &units{r: r, files: files, unit1: unit}
	if len(files) > 0 {
		u.next = files[0].base
	}
	return u, err
}

// unit is the next entry, nil at the end of the valid ones.
func (u *units) unit() ([]byte, error) {
	if len(u.files) == 0 || u.next >= u.files[len(u.files)-1].end() {
		return nil, nil
	}
	if u.next >= u.from+int64(len(u.buf)) {
		s := u.files[(u.next-u.files[0].base)/u.files[0].size]
		n := min(3200*u.unit1, s.end()-u.next)
		u.buf, u.from = make([]byte, n), u.next
		f, err := u.r.FS.Open(s.path)
		if err != nil {
			return nil, err
		}
		got, _ := f.ReadAt(u.buf, u.next-s.base) // what is missing is an error
		if err := errors.Join(f.Close(), u.r.pace("queues", n)); err != nil || int64(got) < n {
			return nil, errors.Join(err, fmt.Errorf("read %s: %d bytes of %d", s.path, got, n))
		}
	}
	b := u.buf[u.next-u.from:][:u.unit1]
	if !validUnit(b, u.unit1) {
		u.next = u.files[len(u.files)-1].end()
		return nil, nil
	}
	u.next += u.unit1
	return b, nil
}
