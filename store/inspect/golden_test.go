package inspect_test

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"apogee/internal/testkit"
	"apogee/store/inspect"
)

// manifest is the part of NAME.json that can be seen in the files: what a Java broker served after opening them.
type manifest struct {
	Runtime struct {
		CommitLogMinOffset int64 `json:",string"`
		CommitLogMaxOffset int64 `json:",string"`
	}
	Topics map[string]struct {
		Queues []struct {
			QueueID  int32
			Min, Max int64
			Messages []struct{ RecordSha256 string }
		}
	}
}

// TestGoldenDirectories compares what is seen in directories of the Java broker with what that broker served from them.
func TestGoldenDirectories(t *testing.T) {
	for _, name := range []string{"clean", "crash", "segments", "defaults", "v4"} {
		t.Run(name, func(t *testing.T) {
			var want manifest
			dir := testkit.Golden(t, name, &want)
			s, err := inspect.Open(os.DirFS(filepath.Join(dir, "store")), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			compare(t, s, &want)
		})
	}
}

func compare(t *testing.T, s *inspect.Store, want *manifest) {
	sum, err := s.Summary()
	if err != nil {
		t.Fatal(err)
	}
	if len(sum.Faults) > 0 {
		t.Errorf("faults: %v", sum.Faults)
	}
	if sum.Log.Min != want.Runtime.CommitLogMinOffset || sum.Log.End > want.Runtime.CommitLogMaxOffset {
		t.Errorf("log from %d to %d, served were %d to %d",
			sum.Log.Min, sum.Log.End, want.Runtime.CommitLogMinOffset, want.Runtime.CommitLogMaxOffset)
	}
	queues, err := s.Queues()
	if err != nil {
		t.Fatal(err)
	}
	type id struct {
		topic string
		queue int32
	}
	have := make(map[id]inspect.Queue)
	for _, q := range queues {
		have[id{q.Topic, q.ID}] = q
	}
	seen := 0
	for topic, tw := range want.Topics {
		if strings.HasPrefix(topic, "Gone_") {
			continue // deleted; recovery in the broker brings it back
		}
		for _, qw := range tw.Queues {
			q := have[id{topic, qw.QueueID}]
			// The broker may have delivered something more by itself before it was read.
			if q.Min != qw.Min || q.Max > qw.Max || q.Max < qw.Max-1 {
				t.Errorf("%s/%d goes from %d to %d, served were %d to %d", topic, qw.QueueID, q.Min, q.Max, qw.Min, qw.Max)
			}
			compacted := strings.HasPrefix(topic, "Compact_") // served from another log
			n := 0
			err := s.EachEntry(q, 0, func(e inspect.Entry) bool {
				if n == len(qw.Messages) {
					return false
				}
				rec, err := s.RecordAt(e)
				if err != nil || rec.Fault != nil {
					t.Errorf("%s/%d at %d: %v %v", topic, qw.QueueID, e.QueueOffset, err, rec)
					return false
				}
				sum := sha256.Sum256(rec.Bytes)
				if hex.EncodeToString(sum[:]) != qw.Messages[n].RecordSha256 && !compacted {
					t.Errorf("%s/%d at %d: another record", topic, qw.QueueID, e.QueueOffset)
				}
				n++
				seen++
				return true
			})
			if err != nil {
				t.Error(err)
			}
		}
	}
	if seen < 300 {
		t.Errorf("only %d messages were compared", seen)
	}
}
