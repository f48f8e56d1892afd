package meta

import (
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"apogee/compat/body"
	"apogee/store/vfs"
)

func newOffsets(fs vfs.FS, lmq bool) *Offsets {
	return NewOffsets(OffsetOptions{FS: fs, Dir: "/store", Now: now, Log: quiet(), LMQ: lmq, VersionStep: 5})
}

// The table behaves like a map of maps, through restarts too.
func TestOffsetsAreAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		fs := vfs.NewMem(now)
		o := newOffsets(fs, false)
		committed, pulled, reset := map[string]int64{}, map[string]int64{}, map[string]int64{}
		names := rapid.SampledFrom([]string{"A", "B", "C"})
		queues := rapid.SampledFrom([]int32{0, 1, 7, denseQueues - 1, denseQueues, 1 << 30, -1})
		draw := func(t *rapid.T) (group, topic string, q int32, key string) {
			group, topic, q = names.Draw(t, "group"), names.Draw(t, "topic"), queues.Draw(t, "queue")
			return group, topic, q, fmt.Sprintf("%s@%s/%d", topic, group, q)
		}
		forget := func(part string, at int) {
			for _, m := range []map[string]int64{committed, pulled, reset} {
				maps.DeleteFunc(m, func(k string, _ int64) bool {
					return strings.FieldsFunc(k, func(r rune) bool { return r == '@' || r == '/' })[at] == part
				})
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"commit": func(t *rapid.T) {
				g, topic, q, k := draw(t)
				v := rapid.Int64Range(-2, 100).Draw(t, "off")
				old, had := committed[k]
				if lower := o.Commit(g, topic, q, v); lower != (had && v < old) {
					t.Fatalf("commit %s %d over %d: lower %v", k, v, old, lower)
				}
				committed[k] = v
			},
			"pull": func(t *rapid.T) {
				g, topic, q, k := draw(t)
				v := rapid.Int64Range(0, 100).Draw(t, "off")
				o.CommitPull(g, topic, q, v)
				pulled[k] = v
			},
			"reset": func(t *rapid.T) {
				g, topic, q, k := draw(t)
				v := rapid.Int64Range(0, 100).Draw(t, "off")
				o.AssignReset(g, topic, q, v)
				reset[k], committed[k] = v, v
			},
			"take": func(t *rapid.T) {
				g, topic, q, k := draw(t)
				if pending := o.ResetPending(g, topic, q); pending != has(reset, k) {
					t.Fatalf("pending %s: %v", k, pending)
				}
				if v, ok := o.TakeReset(g, topic, q); v != reset[k] || ok != has(reset, k) {
					t.Fatalf("take %s: %d %v", k, v, ok)
				}
				delete(reset, k)
			},
			"clear pull": func(t *rapid.T) {
				g, topic, _, _ := draw(t)
				o.ClearPull(g, topic)
				maps.DeleteFunc(pulled, func(k string, _ int64) bool { return strings.HasPrefix(k, topic+"@"+g+"/") })
			},
			"delete group": func(t *rapid.T) {
				g := names.Draw(t, "group")
				o.DeleteGroup(g)
				forget(g, 1)
			},
			"delete topic": func(t *rapid.T) {
				topic := names.Draw(t, "topic")
				o.DeleteTopic(topic)
				forget(topic, 0)
			},
			"restart": func(t *rapid.T) {
				if err := o.Persist(); err != nil {
					t.Fatal(err)
				}
				o = newOffsets(fs, false)
				if err := o.Load(); err != nil {
					t.Fatal(err)
				}
				clear(reset) // they are in memory only
			},
			"": func(t *rapid.T) {
				g, topic, q, k := draw(t)
				want, ok := reset[k]
				if !ok {
					want, ok = committed[k]
				}
				if v, found := o.Query(g, topic, q); v != want || found != ok {
					t.Fatalf("query %s: %d %v, want %d %v", k, v, found, want, ok)
				}
				if v, found := o.QueryPull(g, topic, q); v != pulled[k] || found != has(pulled, k) {
					t.Fatalf("pulled %s: %d %v", k, v, found)
				}
				if n := o.resets.Load(); n != int64(len(reset)) {
					t.Fatalf("%d resets counted, %d there", n, len(reset))
				}
				for _, name := range o.TopicsOf(g) {
					if !slices.Contains(o.GroupsOf(name), g) {
						t.Fatalf("%s has committed in %s, but not the other way round", g, name)
					}
				}
			},
		})
	})
}

func has(m map[string]int64, k string) bool { _, ok := m[k]; return ok }

func TestCloneAndLeast(t *testing.T) {
	o := newOffsets(vfs.NewMem(now), false)
	for q := range int32(3) {
		o.Commit("A", "T", q, int64(10*q+5))
	}
	o.Commit("B", "T", 0, 1)
	o.Commit("B", "T", 9, 1)
	o.Clone("A", "B", "T")
	if got, want := o.OfTopic("B", "T"), map[int32]int64{0: 5, 1: 15, 2: 25}; !maps.Equal(got, want) {
		t.Errorf("cloned %v", got)
	}
	o.Clone("Nobody", "B", "T")
	o.Commit("A", "T", 1, 3)
	all := func(string) bool { return false }
	if got, want := o.MinOf("T", all), map[int32]int64{0: 5, 1: 3, 2: 25}; !maps.Equal(got, want) {
		t.Errorf("least %v", got)
	}
	if got := o.MinOf("T", func(g string) bool { return g == "A" }); got[1] != 15 {
		t.Errorf("least without A: %v", got)
	}
}

func TestVersionMovesByStep(t *testing.T) {
	o := newOffsets(vfs.NewMem(now), false)
	for i := range 14 {
		o.Commit("G", "T", 0, int64(i))
	}
	if v := o.Version(); v.Counter != 2 || v.Timestamp != at.UnixMilli() {
		t.Errorf("version %+v after 14 commits, a step of 5", v)
	}
}

func TestPersistOnlyWhatChanged(t *testing.T) {
	fs := vfs.NewMem(now)
	o := newOffsets(fs, false)
	if err := o.Persist(); err != nil {
		t.Fatal(err)
	}
	if _, err := fs.Stat("/store/config/consumerOffset.json"); err == nil {
		t.Error("an empty table was written over whatever was there")
	}
	o.Commit("G", "T", 2, 7)
	o.CommitPull("G", "T", 2, 9)
	if err := o.Persist(); err != nil {
		t.Fatal(err)
	}
	want := "{\n\t\"dataVersion\":{\n\t\t\"counter\":0,\n\t\t\"stateVersion\":0,\n\t\t\"timestamp\":1700000000000\n\t},\n" +
		"\t\"offsetTable\":{\n\t\t\"T@G\":{\n\t\t\t2:7\n\t\t}\n\t},\n\t\"pullOffsetTable\":{\n\t\t\"T@G\":{\n\t\t\t2:9\n\t\t}\n\t}\n}"
	if got := string(read(t, fs, "consumerOffset.json")); got != want {
		t.Errorf("wrote\n%s\nwant\n%s", got, want)
	}
	if err := fs.Remove("/store/config/consumerOffset.json"); err != nil {
		t.Fatal(err)
	}
	o.Commit("G", "T", 2, 7)
	o.CommitPull("G", "T", 2, 9)
	if err := o.Persist(); err != nil {
		t.Fatal(err)
	}
	if _, err := fs.Stat("/store/config/consumerOffset.json"); err == nil {
		t.Error("the same offsets were written again")
	}
}

func TestGoldenOffsets(t *testing.T) {
	for _, c := range []struct {
		dir, file string
		lmq       bool
		light     map[string]int64
	}{
		{"defaults", offsetFile, false, nil},
		{"clean", lmqOffsetFile, true, map[string]int64{"%LMQ%a_s11@%LMQ%reader_s11": 3, "%LMQ%b_s11@%LMQ%reader_s11": 2}},
		{"clean", lmqOffsetFile, false, map[string]int64{"%LMQ%a_s11@%LMQ%reader_s11": 3, "%LMQ%b_s11@%LMQ%reader_s11": 2}},
		{"v4", lmqOffsetFile, true, map[string]int64{"%LMQ%a_s11@%LMQ%reader_s11": 3, "%LMQ%b_s11@%LMQ%reader_s11": 2}},
	} {
		t.Run(fmt.Sprintf("%s lmq=%v", c.dir, c.lmq), func(t *testing.T) {
			fs := vfs.NewMem(now)
			var was, is body.ConsumerOffsetSerializeWrapper
			decode(t, golden(t, fs, c.dir, c.file), &was)
			o := newOffsets(fs, c.lmq)
			if err := o.Load(); err != nil {
				t.Fatal(err)
			}
			if len(was.OffsetTable) < 8 || !maps.Equal(was.LMQOffsetTable, c.light) {
				t.Fatalf("golden: %d offsets, light %v", len(was.OffsetTable), was.LMQOffsetTable)
			}
			for key, queues := range was.OffsetTable {
				topic, group, _ := strings.Cut(key, "@")
				if got := o.OfTopic(group, topic); !maps.Equal(got, queues) {
					t.Errorf("%s is %v, want %v", key, got, queues)
				}
			}
			o.Commit("Extra", "T", 0, 1)
			if err := o.Persist(); err != nil {
				t.Fatal(err)
			}
			decode(t, read(t, fs, c.file), &is)
			was.OffsetTable["T@Extra"] = map[int32]int64{0: 1}
			if !reflect.DeepEqual(is.OffsetTable, was.OffsetTable) || !maps.Equal(is.LMQOffsetTable, c.light) {
				t.Errorf("wrote %v %v, read %v", is.OffsetTable, is.LMQOffsetTable, was.OffsetTable)
			}
			if len(was.PullOffsetTable) > 0 && !reflect.DeepEqual(is.PullOffsetTable, was.PullOffsetTable) {
				t.Errorf("pull offsets %v, were %v", is.PullOffsetTable, was.PullOffsetTable)
			}
		})
	}
}

// A directory that was written without enableLmq has its offsets where that is switched on.
func TestOffsetsWhenLMQIsSwitchedOn(t *testing.T) {
	fs := vfs.NewMem(now)
	o := newOffsets(fs, false)
	o.Commit("G", "T", 3, 7)
	o.Commit("%LMQ%G", "%LMQ%T", 0, 9)
	o.CommitPull("G", "T", 3, 8)
	if err := o.Persist(); err != nil {
		t.Fatal(err)
	}
	for range 2 { // from the one file, then from the other
		o = newOffsets(fs, true)
		if err := o.Load(); err != nil {
			t.Fatal(err)
		}
		off, _ := o.Query("G", "T", 3)
		pull, _ := o.QueryPull("G", "T", 3)
		light, _ := o.Query("%LMQ%G", "%LMQ%T", 0)
		if off != 7 || pull != 8 || light != 9 {
			t.Fatalf("offset %d, pulled %d, of the light queue %d; want 7, 8 and 9", off, pull, light)
		}
		if err := o.Persist(); err != nil {
			t.Fatal(err)
		}
		var is body.ConsumerOffsetSerializeWrapper
		decode(t, read(t, fs, lmqOffsetFile), &is)
		if is.LMQOffsetTable["%LMQ%T@%LMQ%G"] != 9 || is.OffsetTable["T@G"][3] != 7 {
			t.Fatalf("written: %v, %v", is.LMQOffsetTable, is.OffsetTable)
		}
		if err := vfs.RemoveAll(fs, "/store/config/"+offsetFile); err != nil {
			t.Fatal(err)
		}
	}
}

func TestBadKeyIsNoFile(t *testing.T) {
	for _, text := range []string{`{"offsetTable":{"noat":{0:1}}}`, `{"lmqOffsetTable":{"noat":1}}`} {
		if err := newOffsets(vfs.NewMem(now), true).decode([]byte(text)); err == nil {
			t.Errorf("%s was read", text)
		}
	}
}

func TestCommitAndQueryAllocateNothing(t *testing.T) {
	o := newOffsets(vfs.NewMem(now), false)
	frame := []byte("TopicGroup")
	i := int64(0)
	if n := testing.AllocsPerRun(1000, func() {
		i++
		o.Commit(string(frame[5:]), string(frame[:5]), 3, i)
		o.CommitPull(string(frame[5:]), string(frame[:5]), 3, i)
		if v, ok := o.Query(string(frame[5:]), string(frame[:5]), 3); !ok || v != i {
			t.Errorf("query %d %v", v, ok)
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
	copy(frame, "xxxxxxxxxx")
	if got := o.TopicsOf("Group"); !slices.Equal(got, []string{"Topic"}) {
		t.Errorf("the table keeps the caller's bytes: %v", got)
	}
}

func FuzzOffsetsDecode(f *testing.F) {
	for _, name := range []string{"clean/" + lmqOffsetFile, "defaults/" + offsetFile, "v4/" + lmqOffsetFile} {
		data, err := os.ReadFile("testdata/" + name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte(`{"offsetTable":{"a@b@c":{-1:-5,"2147483647":9}},"x":null}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		a := newOffsets(vfs.NewMem(now), true)
		if a.decode(text) != nil {
			return
		}
		b := newOffsets(vfs.NewMem(now), true)
		if err := b.decode(a.Encode()); err != nil {
			t.Fatalf("cannot read back %s: %v", a.Encode(), err)
		}
		if got, want := string(b.Encode()), string(a.Encode()); got != want {
			t.Fatalf("read back\n%s\nfrom\n%s", got, want)
		}
	})
}

func FuzzTopicsDecode(f *testing.F) {
	fuzzConfig(f, "topics.json", func(fs vfs.FS) {
		topics := newTopics(fs, nil)
		if topics.Load() == nil {
			topics.CreateOnSend("T", AutoCreateTopic, 1, 0, "")
		}
	})
}

func FuzzGroupsDecode(f *testing.F) {
	fuzzConfig(f, "subscriptionGroup.json", func(fs vfs.FS) {
		g := newGroups(fs, true, true)
		if g.Load() == nil {
			g.Ensure("G")
			g.Readable("G", "T")
		}
	})
}

// fuzzConfig has arbitrary text, starting from what Java wrote, as a file of configuration.
func fuzzConfig(f *testing.F, name string, use func(vfs.FS)) {
	for _, dir := range []string{"clean", "v4"} {
		data, err := os.ReadFile("testdata/" + dir + "/" + name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(_ *testing.T, text []byte) {
		fs := vfs.NewMem(now)
		if fs.MkdirAll("/store/config") == nil && vfs.WriteFileAtomic(fs, "/store/config/"+name, text) == nil {
			use(fs)
		}
	})
}

func BenchmarkCommit(b *testing.B) {
	o := newOffsets(vfs.NewMem(now), false)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		i := int64(0)
		for pb.Next() {
			i++
			o.Commit("Group", "Topic", int32(i&15), i)
		}
	})
}

// 10,000 queues of one group, which is what issue-sized brokers write every five seconds.
func BenchmarkEncode(b *testing.B) {
	o := newOffsets(vfs.NewMem(now), false)
	for topic := range 1250 {
		for q := range int32(8) {
			o.Commit("Group", fmt.Sprintf("Topic%d", topic), q, 123456789)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		o.Encode()
	}
}
