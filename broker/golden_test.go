package broker

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"reflect"
	"strconv"
	"testing"

	"apogee/internal/testkit"
	"apogee/remoting"
	"apogee/remoting/code"
	"apogee/remoting/header"
)

// manifest is what the Java broker answered from a golden directory (the README beside the archives).
type manifest struct {
	TopicConfig struct {
		TopicConfigTable map[string]map[string]any `json:"topicConfigTable"`
	} `json:"topicConfig"`
	SubscriptionGroups struct {
		SubscriptionGroupTable map[string]map[string]any `json:"subscriptionGroupTable"`
	} `json:"subscriptionGroups"`
	OffsetsByQuery []struct {
		Group, Topic string
		QueueID      int32
		Offset       int64
	} `json:"offsetsByQuery"`
	Topics map[string]struct {
		Queues []struct {
			QueueID  int32
			Min, Max int64
			Messages []struct {
				RecordSha256 string
				CQOffset     int64 `json:"cqOffset"`
			}
			OffsetsByTime     []struct{ Timestamp, Lower, Upper int64 }
			EarliestStoreTime int64
		}
	} `json:"topics"`
}

// A directory that Java wrote is served as Java served it.
func TestGoldenDirectories(t *testing.T) {
	for _, name := range []string{"clean", "crash", "segments", "defaults", "v4"} {
		t.Run(name, func(t *testing.T) {
			dir, m, conf := unpacked(t, name)
			n := startGolden(t, dir, conf)
			n.sameTables(&m)
			n.sameOffsets(&m)
			for topic, q := range m.Topics {
				for i := range q.Queues {
					q := &q.Queues[i]
					n.sameQueue(topic, q.QueueID, q.Min, q.Max)
					var shas []string
					for _, msg := range q.Messages {
						shas = append(shas, msg.RecordSha256)
					}
					n.sameMessages(topic, q.QueueID, q.Min, q.Max, shas)
					if name == "v4" {
						continue // only the plain answer is in that manifest
					}
					for _, at := range q.OffsetsByTime {
						n.sameTime(topic, q.QueueID, at.Timestamp, at.Lower, at.Upper)
					}
				}
			}
		})
	}
}

// startGolden starts a broker with the settings that a directory was written with; they win over those that every test has.
func startGolden(t *testing.T, store string, conf testkit.Props) *node {
	t.Helper()
	return startNode(t, store, goldenSettings+conf.Text())
}

const goldenSettings = "mappedFileSizeCommitLog=1073741824\nmappedFileSizeConsumeQueue=6000000\nmaxIndexNum=20000000\nmaxHashSlotNum=5000000\n"

func (n *node) sameTables(m *manifest) {
	n.t.Helper()
	topics := ask[struct {
		TopicConfigTable map[string]map[string]any `json:"topicConfigTable"`
	}](n, code.GetAllTopicConfig, nil)
	for name, want := range m.TopicConfig.TopicConfigTable {
		if got := topics.TopicConfigTable[name]; !contains(got, want) {
			n.t.Errorf("topic %s is %v, want %v", name, got, want)
		}
	}
	groups := ask[struct {
		SubscriptionGroupTable map[string]map[string]any `json:"subscriptionGroupTable"`
	}](n, code.GetAllSubscriptionGroupConfig, nil)
	for name, want := range m.SubscriptionGroups.SubscriptionGroupTable {
		if got := groups.SubscriptionGroupTable[name]; !contains(got, want) {
			n.t.Errorf("group %s is %v, want %v", name, got, want)
		}
	}
}

// contains tells whether got has all that want has: 4.9 answers with fewer members.
func contains(got, want map[string]any) bool {
	for k, v := range want {
		if !reflect.DeepEqual(got[k], v) {
			return false
		}
	}
	return true
}

func (n *node) sameOffsets(m *manifest) {
	n.t.Helper()
	for _, o := range m.OffsetsByQuery {
		resp := n.call(code.Success, code.QueryConsumerOffset,
			&header.QueryConsumerOffsetRequest{ConsumerGroup: o.Group, Topic: o.Topic, QueueID: o.QueueID}, nil)
		if got, _ := resp.Fields.Get("offset"); got != strconv.FormatInt(o.Offset, 10) {
			n.t.Errorf("offset of %s in %s/%d is %s, want %d", o.Group, o.Topic, o.QueueID, got, o.Offset)
		}
	}
}

func (n *node) sameQueue(topic string, queue int32, least, end int64) {
	n.t.Helper()
	resp := n.call(code.Success, code.GetMinOffset, &header.GetMinOffsetRequest{Topic: topic, QueueID: queue}, nil)
	if got, _ := resp.Fields.Get("offset"); got != strconv.FormatInt(least, 10) {
		n.t.Errorf("%s/%d starts at %s, want %d", topic, queue, got, least)
	}
	resp = n.call(code.Success, code.GetMaxOffset, &header.GetMaxOffsetRequest{Topic: topic, QueueID: queue}, nil)
	got, _ := resp.Fields.Get("offset")
	if v, _ := strconv.ParseInt(got, 10, 64); v < end { // what was due may have been delivered since
		n.t.Errorf("%s/%d ends at %s, want %d", topic, queue, got, end)
	}
}

func (n *node) sameTime(topic string, queue int32, ms, lower, upper int64) {
	n.t.Helper()
	for bound, want := range map[string]int64{"lower": lower, "upper": upper} {
		resp := n.call(code.Success, code.SearchOffsetByTimestamp,
			&header.SearchOffsetByTimestampRequest{Topic: topic, QueueID: queue, Timestamp: ms, BoundaryType: bound}, nil)
		if got, _ := resp.Fields.Get("offset"); got != strconv.FormatInt(want, 10) && ms < 4102444800000 {
			n.t.Errorf("%s/%d at %d (%s) is %s, want %d", topic, queue, ms, bound, got, want)
		}
	}
}

// sameMessages pulls a queue up to end and compares the bytes of every record.
func (n *node) sameMessages(topic string, queue int32, off, end int64, want []string) {
	n.t.Helper()
	var got []string
	for off < end && len(got) < len(want) {
		h := pullHeader("TOOLS_CONSUMER", topic, off)
		h.QueueID = queue
		resp, err := n.client.Call(context.Background(), n.addr, remoting.Outgoing{Code: code.PullMessage, Header: h})
		if err != nil {
			n.t.Fatal(err)
		}
		if resp.Code == code.NoPermission && len(want) == 0 {
			return
		}
		next, _ := resp.Fields.Get("nextBeginOffset")
		v, _ := strconv.ParseInt(next, 10, 64)
		if v <= off || (resp.Code != code.Success && resp.Code != code.PullRetryImmediately) {
			n.t.Errorf("%s/%d at %d: code %d %s, next %s", topic, queue, off, resp.Code, resp.Remark, next)
			return
		}
		off = v
		for rest := resp.Body; len(rest) > 4; {
			size := binary.BigEndian.Uint32(rest)
			sum := sha256.Sum256(rest[:size])
			got = append(got, hex.EncodeToString(sum[:]))
			rest = rest[size:]
		}
	}
	if len(got) > len(want) {
		got = got[:len(want)]
	}
	if !reflect.DeepEqual(got, want) {
		n.t.Errorf("%s/%d: %d records differ from Java's %d", topic, queue, len(got), len(want))
	}
}
