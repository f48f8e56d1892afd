package replication

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"apogee/compat/body"
	"apogee/conformance/wire"
	"apogee/internal/testkit"
	"apogee/remoting/code"
)

// LogEnd is where a broker's log ends.
func LogEnd(s testkit.Server) (int64, error) {
	c := client{server: s}
	defer c.close()
	return c.logEnd()
}

func (c *client) logEnd() (int64, error) {
	info, err := c.haStatus()
	switch {
	case err != nil:
		return -1, fmt.Errorf("end of the log: %w", err)
	case info.Master:
		return info.MasterCommitLogMaxOffset, nil
	}
	return info.HAClientRuntimeInfo.MaxOffset, nil
}

// haStatus is the answer to GET_BROKER_HA_STATUS.
func (c *client) haStatus() (info body.HARuntimeInfo, err error) {
	f, err := c.call(code.GetBrokerHAStatus, nil, nil)
	if err != nil {
		return info, err
	}
	return info, json.Unmarshal(f.Body, &info)
}

// SameLog compares the log of a slave, which ends at end, with what its master has in these places, and tells how many bytes that were.
func SameLog(ofMaster, ofSlave testkit.Server, end int64) (compared int64, err error) {
	dir := func(s testkit.Server, name string) string {
		return filepath.Join(testkit.StoreDir(s), "commitlog", name)
	}
	files, err := os.ReadDir(dir(ofSlave, ""))
	if err != nil {
		return 0, err
	}
	for _, f := range files {
		base, err := strconv.ParseInt(f.Name(), 10, 64)
		if err != nil || base >= end {
			continue
		}
		got, err := os.ReadFile(dir(ofSlave, f.Name()))
		if err != nil {
			return compared, err
		}
		want, err := os.ReadFile(dir(ofMaster, f.Name()))
		if err != nil {
			return compared, err
		}
		n := min(end-base, int64(len(want)))
		if int64(len(got)) < n {
			return compared, fmt.Errorf("the slave's file %s has %d bytes of %d", f.Name(), len(got), n)
		}
		if !bytes.Equal(got[:n], want[:n]) {
			at := 0
			for got[at] == want[at] {
				at++
			}
			return compared, fmt.Errorf("the slave's log is another one from %d on", base+int64(at))
		}
		compared += n
	}
	return compared, nil
}

// queueEnds are the ends of all queues.
func (c *cell) queueEnds(of *client) (ends [queues]int64, err error) {
	for q := range queues {
		f, err := of.call(code.GetMaxOffset, wire.Ext("topic", c.topic, "queueId", q), nil)
		if err == nil && f.Code != int(code.Success) {
			err = fmt.Errorf("end of queue %d: %v", q, f)
		}
		if err != nil {
			return ends, err
		}
		ends[q] = f.Int("offset")
	}
	return ends, nil
}

// readAll reads all queues of a broker up to these ends.
func (c *cell) readAll(of *client, ends [queues]int64) (final, error) {
	out := make(final, queues)
	for q := range queues {
		for at := int64(0); at < ends[q]; at = int64(len(out[q])) {
			f, err := of.call(code.PullMessage, wire.PullExt("ReplicationReader", c.topic, q, at), nil)
			if err == nil && f.Code != int(code.Success) {
				err = fmt.Errorf("pull: %v", f)
			}
			if err != nil {
				return nil, fmt.Errorf("queue %d at %d of %d: %w", q, at, ends[q], err)
			}
			recs, err := wire.Records(f.Body)
			if err != nil {
				return nil, err
			}
			for i := range recs {
				if recs[i].QueueOffset != int64(len(out[q])) {
					return nil, fmt.Errorf("queue %d has %d where %d is due", q, recs[i].QueueOffset, len(out[q]))
				}
				out[q] = append(out[q], idOf(&recs[i]))
			}
		}
	}
	return out, nil
}

// missing are the messages that were promised and are not where their answer said.
func missing(sends []*sent, f final, promised func(*sent) bool) (out []*sent) {
	for _, s := range sends {
		if promised(s) && (s.offset < 0 || s.offset >= int64(len(f[s.queue])) || f[s.queue][s.offset] != s.id) {
			out = append(out, s)
		}
	}
	return out
}

// tooEarly are acknowledgements that came before the slave had the message: what had been acknowledged when it was asked for its end lies
// before that.
func tooEarly(sends []*sent, audits []audit) (out []string) {
	byAnswer := slices.DeleteFunc(slices.Clone(sends), func(s *sent) bool { return !s.ok() })
	slices.SortFunc(byAnswer, func(a, b *sent) int { return cmp.Compare(a.ret, b.ret) })
	audits = slices.SortedFunc(slices.Values(audits), func(a, b audit) int { return cmp.Compare(a.call, b.call) })
	var furthest *sent
	i := 0
	for _, a := range audits {
		for ; i < len(byAnswer) && byAnswer[i].ret < a.call; i++ {
			if s := byAnswer[i]; furthest == nil || s.physical+int64(s.size) > furthest.physical+int64(furthest.size) {
				furthest = s
			}
		}
		if furthest != nil && furthest.physical+int64(furthest.size) >= a.end {
			out = append(out, fmt.Sprintf("message %d at %d was acknowledged at %v, and the slave's log ended at %d at %v", furthest.id, furthest.physical,
				time.Duration(furthest.ret), a.end, time.Duration(a.call)))
		}
	}
	return out
}
