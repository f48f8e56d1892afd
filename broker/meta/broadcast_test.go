package meta

import (
	"log/slog"
	"testing"
	"time"

	"pgregory.net/rapid"

	"apogee/store/vfs"
)

// broadcastRig is a table with a clock and clients that are set by hand.
type broadcastRig struct {
	*Broadcast
	offsets *Offsets
	now     time.Time
	online  map[string]bool
}

func newBroadcastRig() *broadcastRig {
	r := &broadcastRig{now: time.UnixMilli(1_700_000_000_000), online: map[string]bool{}}
	now := func() time.Time { return r.now }
	r.offsets = NewOffsets(OffsetOptions{FS: vfs.NewMem(now), Dir: "s", Now: now, Log: slog.New(slog.DiscardHandler), VersionStep: 100})
	r.Broadcast = NewBroadcast(BroadcastOptions{
		Now: now, Offsets: r.offsets, Online: func(_, id string) bool { return r.online[id] },
		First:  func(string, int32) int64 { return 40 },
		Expire: func() time.Duration { return 120 * time.Second }, ExpireMax: func() time.Duration { return 300 * time.Second },
	})
	return r
}

func TestBroadcastStarts(t *testing.T) {
	direct := Listener{Topic: "T", Group: "G", ClientID: "c"}
	proxied := direct
	proxied.Proxied = true
	type ask struct {
		l         Listener
		requested int64
	}
	for name, c := range map[string]struct {
		before []Listener // each pulls at 10, 11 and so on
		ask
		want int64 // -1: where it asks
	}{
		"nobody is known, direct":             {nil, ask{direct, -1}, -1},
		"nobody is known, a proxy asks":       {nil, ask{proxied, -1}, 40},
		"nobody is known, a proxy knows":      {nil, ask{proxied, 3}, -1},
		"goes on, direct":                     {[]Listener{direct}, ask{direct, 10}, -1},
		"goes on through a proxy":             {[]Listener{proxied}, ask{proxied, 10}, -1},
		"a proxy that does not know":          {[]Listener{proxied}, ask{proxied, -1}, 10},
		"from the broker to a proxy":          {[]Listener{direct}, ask{proxied, -1}, 10},
		"from a proxy to the broker":          {[]Listener{proxied}, ask{direct, 3}, 10},
		"somebody new through a proxy":        {[]Listener{{"T", "G", "other", false}}, ask{proxied, -1}, 40},
		"somebody new, direct":                {[]Listener{{"T", "G", "other", false}}, ask{direct, -1}, -1},
		"another topic is nobody's":           {[]Listener{{"U", "G", "c", false}}, ask{direct, -1}, -1},
		"both sides, the last one is in mind": {[]Listener{direct, proxied}, ask{direct, 5}, 11},
	} {
		t.Run(name, func(t *testing.T) {
			r := newBroadcastRig()
			for i, l := range c.before {
				r.Moved(l, 2, int64(10+i))
			}
			got, ok := r.Start(c.l, 2, c.requested)
			if !ok {
				got = -1
			}
			if got != c.want {
				t.Errorf("start %d, want %d", got, c.want)
			}
		})
	}
}

func TestBroadcastCommitsTheLeastAndForgets(t *testing.T) {
	r := newBroadcastRig()
	one, two := Listener{"T", "G", "one", false}, Listener{"T", "G", "two", true}
	r.Moved(one, 0, 7)
	r.Moved(two, 0, 5)
	r.Moved(two, 0, 3) // offsets only grow
	r.online["one"] = true
	committed := func() int64 { off, _ := r.offsets.Query("G@broadcast", "T", 0); return off }
	r.Scan()
	if committed() != 5 {
		t.Fatalf("least offset %d", committed())
	}
	if off, ok := r.Start(Listener{"T", "G", "three", true}, 0, -1); !ok || off != 5 {
		t.Errorf("a new client starts at %d %v", off, ok)
	}
	r.now = r.now.Add(120 * time.Second) // two and three are gone
	r.Scan()
	if committed() != 7 {
		t.Errorf("least offset without the one that is gone: %d", committed())
	}
	r.now = r.now.Add(180 * time.Second) // one is there, and idle
	r.Scan()
	if len(r.groups) != 0 {
		t.Errorf("still known: %v", r.groups)
	}
	if committed() != 7 {
		t.Errorf("the committed offset went to %d", committed())
	}
}

// TestBroadcastAgainstAMap: whatever comes, a client that changes sides goes on at the furthest place where it pulled.
func TestBroadcastAgainstAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := newBroadcastRig()
		type key struct {
			client string
			queue  int32
		}
		far, side := map[key]int64{}, map[string]bool{}
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			l := Listener{"T", "G", rapid.SampledFrom([]string{"a", "b"}).Draw(t, "client"), rapid.Bool().Draw(t, "proxied")}
			q := rapid.Int32Range(0, 2).Draw(t, "queue")
			was, known := side[l.ClientID]
			off, ok := r.Start(l, q, 0)
			if moved := known && was != l.Proxied; moved != ok {
				t.Fatalf("%+v: told to go on elsewhere: %v", l, ok)
			} else if moved {
				want, pulled := far[key{l.ClientID, q}]
				if !pulled {
					want = 40
				}
				if off != want {
					t.Fatalf("%+v goes on at %d, was at %d", l, off, want)
				}
			}
			at := rapid.Int64Range(0, 100).Draw(t, "at")
			r.Moved(l, q, at)
			side[l.ClientID] = l.Proxied
			far[key{l.ClientID, q}] = max(far[key{l.ClientID, q}], at)
		}
	})
}
