package body

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"apogee/compat/fastjson"
)

// samples maps the names of testdata/bodies.txt to what we have for them.
var samples = map[string]func() any{
	"DataVersion":                           func() any { return &DataVersion{} },
	"TopicConfig":                           func() any { return &TopicConfig{} },
	"TopicConfigSerializeWrapper":           func() any { return &TopicConfigSerializeWrapper{} },
	"TopicConfigAndMappingSerializeWrapper": func() any { return &TopicConfigAndMappingSerializeWrapper{} },
	"TopicConfigAndQueueMapping":            func() any { return &TopicConfigAndQueueMapping{} },
	"TopicQueueMappingSerializeWrapper":     func() any { return &TopicQueueMappingSerializeWrapper{} },
	"CreateTopicListRequestBody":            func() any { return &CreateTopicListRequestBody{} },
	"TopicList":                             func() any { return &TopicList{} },
	"KVTable":                               func() any { return &KVTable{} },
	"SubscriptionGroupConfig":               func() any { return &SubscriptionGroupConfig{} },
	"SubscriptionGroupWrapper":              func() any { return &SubscriptionGroupWrapper{} },
	"SubscriptionGroupList":                 func() any { return &SubscriptionGroupList{} },
	"GroupForbidden":                        func() any { return &GroupForbidden{} },
	"GroupList":                             func() any { return &GroupList{} },
	"HeartbeatData":                         func() any { return &HeartbeatData{} },
	"CheckClientRequestBody":                func() any { return &CheckClientRequestBody{} },
	"ConsumerConnection":                    func() any { return &ConsumerConnection{} },
	"ProducerConnection":                    func() any { return &ProducerConnection{} },
	"ProducerTableInfo":                     func() any { return &ProducerTableInfo{} },
	"GetConsumerListByGroupResponseBody":    func() any { return &GetConsumerListByGroupResponseBody{} },
	"QuerySubscriptionResponseBody":         func() any { return &QuerySubscriptionResponseBody{} },
	"LockBatchRequestBody":                  func() any { return &LockBatchRequestBody{} },
	"LockBatchResponseBody":                 func() any { return &LockBatchResponseBody{} },
	"TopicStatsTable":                       func() any { return &TopicStatsTable{} },
	"ConsumeStats":                          func() any { return &ConsumeStats{} },
	"ConsumeStatsList":                      func() any { return &ConsumeStatsList{} },
	"ResetOffsetBody":                       func() any { return &ResetOffsetBody{} },
	"ResetOffsetBodyForC":                   func() any { return &ResetOffsetBodyForC{} },
	"GetConsumerStatusBody":                 func() any { return &GetConsumerStatusBody{} },
	"QueryCorrectionOffsetBody":             func() any { return &QueryCorrectionOffsetBody{} },
	"QueryConsumeTimeSpanBody":              func() any { return &QueryConsumeTimeSpanBody{} },
	"QueryConsumeQueueResponseBody":         func() any { return &QueryConsumeQueueResponseBody{} },
	"BrokerStatsData":                       func() any { return &BrokerStatsData{} },
	"HARuntimeInfo":                         func() any { return &HARuntimeInfo{} },
	"TopicRouteData":                        func() any { return &TopicRouteData{} },
	"ClusterInfo":                           func() any { return &ClusterInfo{} },
	"GetBrokerMemberGroupResponseBody":      func() any { return &GetBrokerMemberGroupResponseBody{} },
	"RegisterBrokerBody":                    func() any { return &RegisterBrokerBody{} },
	"ConsumerOffsetSerializeWrapper":        func() any { return &ConsumerOffsetSerializeWrapper{} },
	"MessageRequestModeSerializeWrapper":    func() any { return &MessageRequestModeSerializeWrapper{} },
}

func sampleLines(t testing.TB) [][2]string {
	t.Helper()
	text, err := os.ReadFile("testdata/bodies.txt")
	if err != nil {
		t.Fatal(err)
	}
	var lines [][2]string
	for line := range strings.Lines(string(text)) {
		name, sample, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		if !ok {
			t.Fatalf("bad line %q", line)
		}
		lines = append(lines, [2]string{name, sample})
	}
	return lines
}

// What Java wrote, read and written again, must be the same bytes.
func TestBodiesAreJavas(t *testing.T) {
	seen := map[string]bool{}
	for _, line := range sampleLines(t) {
		name, want := line[0], line[1]
		if name == "RegisterBrokerBody.compressed" {
			continue
		}
		seen[name] = true
		if samples[name] == nil {
			t.Errorf("no type for %s", name)
			continue
		}
		v := samples[name]()
		if err := fastjson.Unmarshal([]byte(want), v); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := string(fastjson.Marshal(v)); got != want {
			t.Errorf("%s\ngot  %s\nwant %s", name, got, want)
		}
		if std := fastjson.MarshalStandard(v); !json.Valid(std) {
			t.Errorf("%s: %s", name, std)
		}
	}
	for name := range samples {
		if !seen[name] {
			t.Errorf("no sample of %s", name)
		}
	}
}

// A body may also come with every key quoted, as other writers than fastjson do it.
func TestBodiesFromStandardWriters(t *testing.T) {
	for _, line := range sampleLines(t) {
		if samples[line[0]] == nil {
			continue
		}
		std, err := fastjson.Normalize(nil, []byte(line[1]))
		if err != nil {
			t.Fatal(err)
		}
		v := samples[line[0]]()
		if err := fastjson.Unmarshal(std, v); err != nil {
			t.Errorf("%s: %v", line[0], err)
		} else if got := string(fastjson.Marshal(v)); got != line[1] {
			t.Errorf("%s\ngot  %s\nwant %s", line[0], got, line[1])
		}
	}
}

func TestCompressedRegistration(t *testing.T) {
	var plain RegisterBrokerBody
	var packed []byte
	for _, line := range sampleLines(t) {
		switch line[0] {
		case "RegisterBrokerBody":
			if err := fastjson.Unmarshal([]byte(line[1]), &plain); err != nil {
				t.Fatal(err)
			}
		case "RegisterBrokerBody.compressed":
			var err error
			if packed, err = base64.StdEncoding.DecodeString(strings.Trim(line[1], `"`)); err != nil {
				t.Fatal(err)
			}
		}
	}
	// The compressed form does not carry these.
	topic := plain.TopicConfigSerializeWrapper.TopicConfigTable["T1"]
	topic.Order, topic.TopicSysFlag = false, 0
	plain.TopicConfigSerializeWrapper.MappingDataVersion = nil
	plain.TopicConfigSerializeWrapper.TopicQueueMappingDetailMap = nil
	for _, claimed := range []bool{true, false} { // Java's broker says false for a compressed body
		got, err := DecodeRegisterBroker(packed, claimed, 513)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, &plain) {
			t.Errorf("compressed=%v: got %s\nwant %s", claimed, fastjson.Marshal(got), fastjson.Marshal(plain))
		}
	}
	again, err := DecodeRegisterBroker(plain.Encode(true), true, 513)
	if err != nil || !reflect.DeepEqual(again, &plain) {
		t.Errorf("ours read back: %v, %s", err, fastjson.Marshal(again))
	}
	old, err := DecodeRegisterBroker(packed, true, 399)
	if err != nil || old.TopicConfigSerializeWrapper.TopicQueueMappingInfoMap != nil {
		t.Errorf("4.9: %v, %s", err, fastjson.Marshal(old))
	}
	for n := range packed {
		if _, err := DecodeRegisterBroker(packed[:n], true, 513); err == nil && n > 0 {
			t.Errorf("%d of %d bytes were enough", n, len(packed))
		}
	}
}

func TestOldRegistrations(t *testing.T) {
	bare := []byte(`{"dataVersion":{"counter":1,"timestamp":5},"topicConfigTable":{"T":{"topicName":"T","perm":6,"readQueueNums":2,"writeQueueNums":2}}}`)
	b, err := DecodeRegisterBroker(bare, false, 36)
	if err != nil || b.TopicConfigSerializeWrapper.TopicConfigTable["T"].ReadQueueNums != 2 {
		t.Errorf("%v, %+v", err, b)
	}
	if b, err := DecodeRegisterBroker(nil, false, 513); err != nil || len(b.TopicConfigSerializeWrapper.TopicConfigTable) != 0 {
		t.Errorf("no body: %v, %+v", err, b)
	}
	ref := []byte(`{"topicConfigSerializeWrapper":{"dataVersion":{"counter":3,"stateVersion":0,"timestamp":5},"mappingDataVersion":{"$ref":"$.topicConfigSerializeWrapper.dataVersion"},"topicConfigTable":{}}}`)
	b, err = DecodeRegisterBroker(ref, false, 473)
	if err != nil || b.TopicConfigSerializeWrapper.MappingDataVersion.Counter != 3 {
		t.Errorf("reference: %v, %+v", err, b)
	}
}

// What the C++ client sends: constants by ordinal, a long as a string.
func TestHeartbeatOfCpp(t *testing.T) {
	var h HeartbeatData
	err := fastjson.Unmarshal([]byte(`{"clientID":"c@1","consumerDataSet":[{"consumeFromWhere":0,"consumeType":1,"groupName":"CG","messageModel":1,`+
		`"subscriptionDataSet":[{"subString":"*","subVersion":"1700000000000","topic":"T1"}]}],"producerDataSet":[{"groupName":"PG"}]}`), &h)
	if err != nil {
		t.Fatal(err)
	}
	c := h.ConsumerDataSet[0]
	if c.ConsumeType != ConsumePassively || c.MessageModel != Clustering || c.ConsumeFromWhere != ConsumeFromLastOffset || c.SubscriptionDataSet[0].SubVersion != 1700000000000 {
		t.Errorf("%+v", c)
	}
}

// Keys of mqTable as fastjson 1.2 writes them when the object was written before.
func TestQueueKeyThatIsAReference(t *testing.T) {
	var b ResetOffsetBody
	if err := fastjson.Unmarshal([]byte(`{"offsetTable":{{"$ref":"$.x.null"}:1}}`), &b); err != nil || b.OffsetTable[MessageQueue{}] != 1 {
		t.Errorf("%v, %+v", err, b)
	}
}

func TestDefaultsOfOldFiles(t *testing.T) {
	var w SubscriptionGroupWrapper
	readFile(t, "testdata/java_4_9_subscriptionGroup.json", &w)
	g := w.SubscriptionGroupTable["RetryGroup_s11"]
	if g == nil || g.ConsumeTimeoutMinute != 15 || g.GroupRetryPolicy.Type != CustomizedRetry || len(g.Extras) != 0 {
		t.Errorf("%+v", g)
	}
	var topics TopicConfigSerializeWrapper
	readFile(t, "testdata/java_4_9_topics.json", &topics)
	if c := topics.TopicConfigTable["NoRead_s11"]; c == nil || c.Perm != PermWrite || c.TopicFilterType != SingleTag {
		t.Errorf("%+v", c)
	}
}

func readFile(t *testing.T, file string, v any) []byte {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := fastjson.Unmarshal(text, v); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return text
}

// fileShapes are the types of configuration files.
var fileShapes = map[string]func() any{
	"topics":             func() any { return &TopicConfigSerializeWrapper{} },
	"subscriptionGroup":  func() any { return &SubscriptionGroupWrapper{} },
	"consumerOffset":     func() any { return &ConsumerOffsetSerializeWrapper{} },
	"lmqConsumerOffset":  func() any { return &ConsumerOffsetSerializeWrapper{} },
	"delayOffset":        func() any { return &DelayOffsetSerializeWrapper{} },
	"consumerFilter":     func() any { return &ConsumerFilterWrapper{} },
	"timermetrics":       func() any { return &TimerMetrics{} },
	"transactionMetrics": func() any { return &TransactionMetrics{} },
	"kvConfig":           func() any { return &KVConfigSerializeWrapper{} },
	"messageRequestMode": func() any { return &MessageRequestModeSerializeWrapper{} },
	"topicQueueMapping":  func() any { return &TopicQueueMappingSerializeWrapper{} },
}

// Reading a configuration file and writing it again must lose nothing: neither of what we know nor of what we do not.
func TestFilesSurvive(t *testing.T) {
	files, err := filepath.Glob("testdata/java_*.json")
	if err != nil || len(files) < 8 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			name := strings.TrimSuffix(filepath.Base(file), ".json")[len("java_5_5_"):]
			v := fileShapes[name]()
			text := readFile(t, file, v)
			written := fastjson.MarshalPretty(v)
			if strings.HasPrefix(filepath.Base(file), "java_5_5_") {
				if !reflect.DeepEqual(generic(t, written), generic(t, text)) {
					t.Errorf("got %s\nwant %s", written, text)
				}
				// The lines are Java's too; only maps may come in another order.
				if name != "timermetrics" && name != "transactionMetrics" && !reflect.DeepEqual(sortedLines(written), sortedLines(text)) {
					t.Errorf("lines differ: got %s\nwant %s", written, text)
				}
			} else if missing := missing(generic(t, text), generic(t, written)); missing != "" {
				t.Errorf("lost %s", missing)
			}
		})
	}
}

func TestUnknownMembersSurvive(t *testing.T) {
	in := `{"dataVersion":{"counter":1,"stateVersion":0,"timestamp":2},"newTable":{"x":[1,{"y":null}]},"topicConfigTable":{"T":{"attributes":{},"order":false,"perm":6,` +
		`"quota":{"a":1},"readQueueNums":1,"topicFilterType":"SINGLE_TAG","topicName":"T","topicSysFlag":0,"writeQueueNums":1}}}`
	var w TopicConfigSerializeWrapper
	if err := fastjson.Unmarshal([]byte(in), &w); err != nil {
		t.Fatal(err)
	}
	if got := string(fastjson.Marshal(&w)); got != in {
		t.Errorf("got  %s\nwant %s", got, in)
	}
}

func generic(t *testing.T, text []byte) any {
	t.Helper()
	std, err := fastjson.Normalize(nil, text)
	if err != nil {
		t.Fatal(err)
	}
	var v any
	if err := json.Unmarshal(std, &v); err != nil {
		t.Fatal(err)
	}
	sortLists(v)
	return v
}

// sortLists orders the lists of strings, which are sets in Java.
func sortLists(v any) {
	switch v := v.(type) {
	case map[string]any:
		for _, x := range v {
			sortLists(x)
		}
	case []any:
		for i := range v {
			sortLists(v[i])
			for j := i; j > 0; j-- {
				a, ok1 := v[j-1].(string)
				b, ok2 := v[j].(string)
				if !ok1 || !ok2 || a <= b {
					break
				}
				v[j-1], v[j] = b, a
			}
		}
	}
}

func sortedLines(text []byte) map[string]int {
	count := map[string]int{}
	for line := range bytes.Lines(text) {
		count[strings.TrimRight(string(line), ",\n")]++
	}
	return count
}

// missing names something that is in a and not in b.
func missing(a, b any) string {
	am, ok := a.(map[string]any)
	if !ok {
		if reflect.DeepEqual(a, b) {
			return ""
		}
		return "a value"
	}
	bm, _ := b.(map[string]any)
	for k, v := range am {
		if m := missing(v, bm[k]); m != "" {
			return k + ": " + m
		}
	}
	return ""
}

func TestDataVersion(t *testing.T) {
	now := time.UnixMilli(1700000000000)
	v := NewDataVersion(now)
	if v != (DataVersion{Timestamp: 1700000000000}) {
		t.Errorf("new: %+v", v)
	}
	w := v.Next(3, now.Add(time.Millisecond))
	if w != (DataVersion{StateVersion: 3, Timestamp: 1700000000001, Counter: 1}) {
		t.Errorf("next: %+v", w)
	}
	ordered := []DataVersion{
		{StateVersion: 0, Counter: 9, Timestamp: 9},
		{StateVersion: 1, Counter: 0, Timestamp: 9},
		{StateVersion: 1, Counter: 1, Timestamp: 1},
		{StateVersion: 1, Counter: 1, Timestamp: 2},
	}
	for i := range ordered {
		for j := range ordered {
			want := 0
			if i < j {
				want = -1
			} else if i > j {
				want = 1
			}
			if got := ordered[i].Compare(ordered[j]); got != want {
				t.Errorf("%+v to %+v: %d, want %d", ordered[i], ordered[j], got, want)
			}
		}
	}
}

func TestGroupTopicMap(t *testing.T) {
	w := ConsumerOffsetSerializeWrapper{OffsetTable: map[string]map[int32]int64{"b@g": nil, "a@g": nil, "a@h": nil}}
	w.SetGroupTopicMap()
	if want := map[string][]string{"g": {"a", "b"}, "h": {"a"}}; !reflect.DeepEqual(w.GroupTopicMap, want) {
		t.Errorf("got %v, want %v", w.GroupTopicMap, want)
	}
}

// staysTheSame reads data into what make makes. What can be read can be written and read again, and is then the same.
func staysTheSame(t *testing.T, name string, make func() any, marshal func(any) []byte, data []byte) {
	t.Helper()
	v := make()
	if fastjson.Unmarshal(data, v) != nil || !utf8.Valid(data) { // bytes that are no text become others, which sort elsewhere
		return
	}
	text := marshal(v)
	again := make()
	if err := fastjson.Unmarshal(text, again); err != nil {
		t.Fatalf("%s: %q became %q: %v", name, data, text, err)
	}
	if got := marshal(again); !bytes.Equal(got, text) {
		t.Fatalf("%s: %q became %q, then %q", name, data, text, got)
	}
}

// FuzzBodies reads arbitrary text as each body; what can be read must be writable, readable again and then stay the same.
func FuzzBodies(f *testing.F) {
	names := make([]string, 0, len(samples))
	for _, line := range sampleLines(f) {
		if samples[line[0]] != nil {
			names = append(names, line[0])
			f.Add(len(names)-1, []byte(line[1]))
		}
	}
	f.Fuzz(func(t *testing.T, i int, data []byte) {
		if i < 0 || i >= len(names) {
			return
		}
		staysTheSame(t, names[i], samples[names[i]], fastjson.Marshal, data)
	})
}

// FuzzFiles does the same with the configuration files.
func FuzzFiles(f *testing.F) {
	names := slices.Sorted(maps.Keys(fileShapes))
	seeds := map[string]string{
		"kvConfig": `{"configTable":{"NS":{"k":"v"}},"later":1}`, "messageRequestMode": `{"messageRequestModeMap":{"T":{"G":{"mode":"POP"}}}}`,
		"topics": `{"topicConfigTable":{"T":{"topicName":"T","perm":6}}}`, "subscriptionGroup": `{"subscriptionGroupTable":{"G":{"groupName":"G"}}}`,
		"consumerOffset": "{\n\t\"offsetTable\":{\n\t\t\"T@G\":{\n\t\t\t0:5\n\t\t}\n\t}\n}", "lmqConsumerOffset": `{"lmqOffsetTable":{"%LMQ%a@g":1}}`,
		"delayOffset": `{"offsetTable":{1:10,3:42}}`, "consumerFilter": `{"filterDataByTopic":{"T":{"groupFilterData":{}}}}`,
		"timermetrics": `{"timingCount":{"T":{"count":1,"timeStamp":2}}}`, "transactionMetrics": `{"transactionCount":{}}`,
		"topicQueueMapping": `{"topicQueueMappingInfoMap":{"T":{"hostedQueues":{0:[{"gen":1}]}}}}`,
	}
	for i, name := range names {
		f.Add(i, []byte(seeds[name]))
	}
	f.Fuzz(func(t *testing.T, i int, data []byte) {
		if i < 0 || i >= len(names) {
			return
		}
		staysTheSame(t, names[i], fileShapes[names[i]], fastjson.MarshalPretty, data)
	})
}

func FuzzRegisterBroker(f *testing.F) {
	for _, line := range sampleLines(f) {
		if line[0] == "RegisterBrokerBody" {
			f.Add([]byte(line[1]), false, int32(513))
		}
	}
	b := RegisterBrokerBody{}
	b.TopicConfigSerializeWrapper.TopicConfigTable = map[string]*TopicConfig{"T": {TopicName: "T"}}
	f.Add(b.Encode(true), true, int32(399))
	f.Fuzz(func(t *testing.T, data []byte, compressed bool, version int32) {
		b, err := DecodeRegisterBroker(data, compressed, version)
		if err == nil {
			b.Encode(true)
		}
	})
}
