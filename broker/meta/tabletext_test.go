package meta

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"apogee/compat/body"
	"apogee/compat/fastjson"
	"apogee/store/vfs"
)

// Names with what the search for an entry could stumble over.
var oddNames = []string{"a", "b", "ab", `a":{`, "\n\t\tb", "topicConfigTable", "ä", "%RETRY%a", "perm", ""}

func TestTableTextIsTheTable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := &tableText{table: "topicConfigTable"}
		model := body.TopicConfigSerializeWrapper{TopicConfigTable: map[string]*body.TopicConfig{}}
		if rapid.Bool().Draw(t, "extras") {
			model.Extras = fastjson.Extras{"zzz": []byte(`{"a":{"b":1}}`), "aaa": []byte(`[{"a":1}]`)}
		}
		var last []byte
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			model.DataVersion.Counter = rapid.Int64Range(0, 200).Draw(t, "counter")
			if err := text.frame(fastjson.MarshalPretty(&body.TopicConfigSerializeWrapper{DataVersion: model.DataVersion, Extras: model.Extras})); err != nil {
				t.Fatal(err)
			}
			for range rapid.IntRange(0, 3).Draw(t, "changes") {
				name := rapid.SampledFrom(oddNames).Draw(t, "name")
				c := body.NewTopicConfig(name)
				c.WriteQueueNums = rapid.SampledFrom([]int32{4, 16}).Draw(t, "queues")
				if rapid.Bool().Draw(t, "attributes") {
					c.Attributes = map[string]string{"a": "{}", "\n\t\t}": "b"}
				}
				switch _, ok := model.TopicConfigTable[name]; {
				case !ok:
					text.add(name, topicEntry(&c))
				case rapid.Bool().Draw(t, "remove"):
					text.remove(name)
					delete(model.TopicConfigTable, name)
					continue
				default:
					text.replace(name, topicEntry(&c))
				}
				model.TopicConfigTable[name] = &c
			}
			got, same := text.take()
			if same.First < same.Last && (last == nil || !bytes.Equal(got[same.First:same.Last], last[same.First:same.Last])) {
				t.Fatalf("not the same from %d to %d:\n%s\n%s", same.First, same.Last, last, got)
			}
			last = bytes.Clone(got)
			checkText(t, got, &model)
		}
	})
}

// checkText compares a text with what encoding the table makes, whose entries are in another order.
func checkText(t interface{ Fatalf(string, ...any) }, got []byte, model *body.TopicConfigSerializeWrapper) {
	var w body.TopicConfigSerializeWrapper
	if err := fastjson.Unmarshal(got, &w); err != nil {
		t.Fatalf("%v:\n%s", err, got)
	}
	want := fastjson.MarshalPretty(model)
	if again := fastjson.MarshalPretty(&w); !bytes.Equal(again, want) || len(got) != len(want) {
		t.Fatalf("got\n%s\nwant, in some order\n%s", got, want)
	}
	// As Java prints it: every line is one of the lines it would print, but for the commas.
	lines := func(b []byte) []string {
		var out []string
		for l := range bytes.Lines(b) {
			out = append(out, string(bytes.TrimSuffix(bytes.TrimSuffix(l, []byte("\n")), []byte(","))))
		}
		return slices.Sorted(slices.Values(out))
	}
	if !slices.Equal(lines(got), lines(want)) {
		t.Fatalf("got\n%s\nwant, in some order\n%s", got, want)
	}
}

// The file always says what the table holds, whatever happened to it.
func TestTopicsFileFollowsChanges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		fs := vfs.NewMem(now)
		topics := newTopics(fs, nil)
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			name := rapid.StringMatching("[ab]{1,2}").Draw(t, "name")
			var err error
			switch rapid.IntRange(0, 4).Draw(t, "what") {
			case 0:
				err = topics.Delete(name)
			case 1: // many at once
				var l []*body.TopicConfig
				for i := range rebuildFrom + 6 {
					c := body.NewTopicConfig(fmt.Sprintf("m%d", i))
					l = append(l, &c)
				}
				err = topics.Put(l...)
			case 2: // a new process
				topics = newTopics(fs, nil)
				err = topics.Load()
			default:
				c := body.NewTopicConfig(name)
				c.Perm = rapid.Int32Range(0, 15).Draw(t, "perm")
				err = topics.Put(&c)
			}
			if err != nil {
				t.Fatal(err)
			}
			if topics.Version().Counter == 0 {
				continue // nothing written yet
			}
			checkText(t, readFile(t, fs, "/store/config/topics.json"), &body.TopicConfigSerializeWrapper{
				TopicConfigTable: topics.All(), DataVersion: topics.Version(),
			})
		}
	})
}

func readFile(t *rapid.T, fs vfs.FS, name string) []byte {
	b, err := vfs.ReadFile(fs, name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A table of the size of a large broker's is first made as a whole, byte for byte what encoding it makes.
func TestTopicsFileIsWhatJavaPrints(t *testing.T) {
	fs := vfs.NewMem(now)
	topics := newTopics(fs, nil)
	c := body.NewTopicConfig("T")
	if err := topics.Put(&c); err != nil {
		t.Fatal(err)
	}
	got, err := vfs.ReadFile(fs, "/store/config/topics.json")
	if err != nil {
		t.Fatal(err)
	}
	want := fastjson.MarshalPretty(&body.TopicConfigSerializeWrapper{TopicConfigTable: topics.All(), DataVersion: topics.Version()})
	if !bytes.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// An acknowledged change outlives a power cut at any moment after it.
func TestTopicsSurviveAPowerCut(t *testing.T) {
	for seed := range uint64(20) {
		var cuts []*vfs.Mem
		var sure []map[string]*body.TopicConfig // what had been acknowledged by then
		mem := vfs.NewMem(now)
		if err := errors.Join(mem.MkdirAll("/store"), mem.SyncDir("/")); err != nil {
			t.Fatal(err)
		}
		acked := map[string]*body.TopicConfig{}
		fs := vfs.Faulty(mem, func(vfs.Op, string) error {
			cuts, sure = append(cuts, mem.CrashClone(seed)), append(sure, acked)
			return nil
		})
		topics := newTopics(fs, nil)
		for i := range 12 {
			c := body.NewTopicConfig(fmt.Sprintf("T%d", i%9))
			c.ReadQueueNums = int32(i)
			if err := topics.Put(&c); err != nil {
				t.Fatal(err)
			}
			acked = maps.Clone(topics.All())
		}
		for i, cut := range cuts {
			again := newTopics(cut, nil)
			if err := again.Load(); err != nil {
				t.Fatalf("seed %d, operation %d: %v\n%s", seed, i, err, cut.Dump())
			}
			for name, want := range sure[i] {
				if got, ok := again.Get(name); !ok || got.ReadQueueNums < want.ReadQueueNums {
					t.Fatalf("seed %d, operation %d: %s is %+v, was %+v", seed, i, name, got, want)
				}
			}
		}
	}
}

func TestTopicEntryIsWhatEncodingMakes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		number := rapid.Int32()
		c := body.TopicConfig{
			TopicName: rapid.OneOf(rapid.String(), rapid.StringMatching(`[%|a-zA-Z0-9_-]*`)).Draw(t, "name"), ReadQueueNums: number.Draw(t, "read"),
			WriteQueueNums: number.Draw(t, "write"), Perm: number.Draw(t, "perm"), TopicSysFlag: number.Draw(t, "flag"),
			TopicFilterType: rapid.SampledFrom([]string{"", "SINGLE_TAG", "other"}).Draw(t, "filter"), Order: rapid.Bool().Draw(t, "order"),
			Attributes: rapid.MapOfN(rapid.String(), rapid.String(), 0, 2).Draw(t, "attributes"),
		}
		got := topicEntry(&c)(appendName(nil, c.TopicName))
		want := fastjson.PrettyAt(nil, fastjson.Marshal(map[string]map[string]*body.TopicConfig{"": {c.TopicName: &c}}), 0)
		want = bytes.TrimSuffix(bytes.TrimPrefix(want, []byte("{\n\t\"\":{")), []byte("\n\t}\n}"))
		if !bytes.Equal(got, want) {
			t.Fatalf("got\n%s\nwant\n%s", got, want)
		}
	})
}

func TestTableTextNeedsItsTable(t *testing.T) {
	text := &tableText{table: "other"}
	if err := text.frame([]byte("{\n\t\"topicConfigTable\":{}\n}")); err == nil {
		t.Error("a text without the table was taken")
	}
	if got, _ := text.take(); !reflect.DeepEqual(got, []byte(nil)) {
		t.Errorf("text %q", got)
	}
}

// BenchmarkTopicsText is what a change among 10,000 topics costs, but for the disk.
func BenchmarkTopicsText(b *testing.B) {
	topics := newTopics(vfs.NewMem(now), nil)
	for i := range 10000 {
		c := body.NewTopicConfig(fmt.Sprintf("Topic_%05d", i))
		topics.table.putLocked(c.TopicName, &c)
	}
	put := func(c body.TopicConfig) {
		topics.changedLocked(c.TopicName)
		topics.table.putLocked(c.TopicName, &c)
		if _, _, err := topics.encode(); err != nil {
			b.Fatal(err)
		}
	}
	put(body.NewTopicConfig("T"))
	b.Run("create", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			put(body.NewTopicConfig(fmt.Sprintf("New_%05d", i)))
		}
	})
	b.Run("change", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			c := body.NewTopicConfig(fmt.Sprintf("Topic_%05d", i*37%10000))
			c.Perm = int32(i % 8)
			put(c)
		}
	})
	b.Run("anew", func(b *testing.B) {
		for b.Loop() {
			topics.text = nil
			put(body.NewTopicConfig("T"))
		}
	})
}
