package meta

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"apogee/compat/body"
	"apogee/store/vfs"
)

func newGroups(fs vfs.FS, auto, autoSystem bool) *Groups {
	return NewGroups(GroupOptions{
		FS: fs, Dir: "/store", Now: now, Log: quiet(),
		AutoCreate: func() bool { return auto }, AutoCreateSystem: func() bool { return autoSystem },
	})
}

func TestPredefinedGroups(t *testing.T) {
	want := []string{
		"CID_ONS-HTTP-PROXY", "CID_ONSAPI_OWNER", "CID_ONSAPI_PERMISSION", "CID_ONSAPI_PULL", "CID_RMQ_SYS_TRANS", "FILTERSRV_CONSUMER",
		"SELF_TEST_C_GROUP", "TOOLS_CONSUMER",
	}
	if got := newGroups(vfs.NewMem(now), true, true).Names(); !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
}

func TestGroupsAreMadeOnUse(t *testing.T) {
	for _, c := range []struct {
		name, group      string
		auto, autoSystem bool
		want             bool
	}{
		{"creation is on", "G", true, false, true},
		{"creation is off", "G", false, true, false},
		{"system groups have a switch of their own", "CID_RMQ_SYS_X", false, true, true},
		{"both off", "CID_RMQ_SYS_X", false, false, false},
		{"an illegal name", "a b", true, true, false},
		{"one that is there", "TOOLS_CONSUMER", false, false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			fs := vfs.NewMem(now)
			g := newGroups(fs, c.auto, c.autoSystem)
			cfg, ok := g.Ensure(c.group)
			if ok != c.want || (ok && (cfg.GroupName != c.group || cfg.RetryMaxTimes != 16)) {
				t.Fatalf("got %+v, %v", cfg, ok)
			}
			if again, _ := g.Ensure(c.group); again != cfg {
				t.Error("made twice")
			}
			if !ok {
				return
			}
			after := newGroups(fs, false, false)
			if err := after.Load(); err != nil {
				t.Fatal(err)
			}
			if _, ok := after.Get(c.group); !ok {
				t.Error("lost with a restart")
			}
		})
	}
}

func TestGroupUpdateAndDelete(t *testing.T) {
	fs := vfs.NewMem(now)
	g := newGroups(fs, true, true)
	c := body.NewSubscriptionGroupConfig("G")
	c.RetryMaxTimes, c.Attributes = 3, map[string]string{"+priority.factor": "50"}
	if err := g.Update(&c); err != nil {
		t.Fatal(err)
	}
	bad := c
	bad.RetryMaxTimes, bad.Attributes = 9, map[string]string{"+priority.factor": "101"}
	if err := g.Update(&bad); err == nil || err.Error() != "value is not in range(0, 100)" {
		t.Errorf("error %v", err)
	}
	if err := g.Disable("G"); err != nil {
		t.Fatal(err)
	}
	got, _ := g.Get("G")
	if got.RetryMaxTimes != 3 || got.Attributes["priority.factor"] != "50" || got.ConsumeEnable {
		t.Errorf("G is %+v", got)
	}
	if err := g.Delete("G"); err != nil {
		t.Fatal(err)
	}
	if _, ok := g.Get("G"); ok {
		t.Error("deleted, but there")
	}
	if err := g.Delete("NotThere"); err != nil || g.Version().Counter != 3 {
		t.Errorf("error %v, version %+v", err, g.Version())
	}
}

func TestForbidden(t *testing.T) {
	fs := vfs.NewMem(now)
	g := newGroups(fs, true, true)
	check := func(g *Groups, want bool) {
		t.Helper()
		if got := g.Readable("G", "T"); got != want {
			t.Errorf("readable %v", got)
		}
	}
	check(g, true)
	if err := g.SetReadable("G", "T", false); err != nil {
		t.Fatal(err)
	}
	check(g, false)
	if !maps.Equal(g.Forbidden()["G"], map[string]int32{"T": 4}) || !g.Readable("G", "Other") {
		t.Errorf("forbidden %v", g.Forbidden())
	}
	after := newGroups(fs, true, true)
	if err := after.Load(); err != nil {
		t.Fatal(err)
	}
	check(after, false)
	if err := after.SetReadable("G", "T", true); err != nil {
		t.Fatal(err)
	}
	check(after, true)
	if len(after.Forbidden()) != 0 {
		t.Errorf("empty entries stay: %v", after.Forbidden())
	}
	if err := g.Delete("G"); err != nil {
		t.Fatal(err)
	}
	check(g, true)
}

func TestGoldenGroups(t *testing.T) {
	for _, dir := range []string{"clean", "defaults", "v4"} {
		t.Run(dir, func(t *testing.T) {
			fs := vfs.NewMem(now)
			before := golden(t, fs, dir, "subscriptionGroup.json")
			g := newGroups(fs, true, true)
			if err := g.Load(); err != nil {
				t.Fatal(err)
			}
			if _, ok := g.Ensure("Extra"); !ok {
				t.Fatal("not made")
			}
			var was, is map[string]any
			decode(t, before, &was)
			text := read(t, fs, "subscriptionGroup.json")
			decode(t, text, &is)
			wasTable, isTable := was["subscriptionGroupTable"].(map[string]any), is["subscriptionGroupTable"].(map[string]any)
			if len(wasTable) < 10 || isTable["Extra"] == nil || !strings.HasPrefix(string(text), "{\n\t\"dataVersion\":{\n\t\t\"counter\":") {
				t.Fatalf("%d golden groups; written\n%.200s", len(wasTable), text)
			}
			for name, c := range wasTable {
				for k, v := range c.(map[string]any) { // 4.9 has fewer members; those it has must be the same
					if got := isTable[name].(map[string]any)[k]; !reflect.DeepEqual(got, v) {
						t.Errorf("%s.%s was %v, is %v", name, k, v, got)
					}
				}
			}
		})
	}
}

func TestLightGroups(t *testing.T) {
	g := NewGroups(GroupOptions{FS: vfs.NewMem(now), Dir: "/store", Now: now, Log: quiet(), LMQ: true})
	if c, ok := g.Get("%LMQ%reader"); !ok || !c.ConsumeEnable || c.GroupName != "%LMQ%reader" {
		t.Errorf("light group %+v", c)
	}
}
