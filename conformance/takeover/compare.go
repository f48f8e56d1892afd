package takeover

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"apogee/conformance/wire"
	"apogee/internal/testkit"
	"apogee/remoting/code"
)

// compare compares what this broker serves with what the one before did.
func (p *phase) compare(before *tables) error {
	r := reader{p.c}
	var now *tables
	err := wait(20*time.Second, func() (err error) {
		now, err = r.tables()
		return err
	})
	if err != nil {
		return err
	}
	p.members("topic", before.topics, now.topics, "topicConfigTable")
	p.members("group", before.groups, now.groups, "subscriptionGroupTable")
	p.versions(before, now)
	if err := p.progress(before, now); err != nil {
		return err
	}
	if err := p.book.look(r, true); err != nil {
		return err
	}
	return p.lookUp()
}

// members compares what was in a table with what is; there may be more now.
func (p *phase) members(what string, before, now any, table string) {
	was, _ := wire.At(before, table).(map[string]any)
	is, _ := wire.At(now, table).(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(was)) {
		p.report.Tables++
		if !reflect.DeepEqual(was[name], is[name]) {
			p.differ("%s %s is %v, and was %v", what, name, text(is[name]), text(was[name]))
		}
	}
}

func text(v any) string {
	b, _ := json.Marshal(v)
	return string(b)
}

// versions must not go back: clients and slaves take what is older for known.
func (p *phase) versions(before, now *tables) {
	for what, pair := range map[string][2]any{"topics": {before.topics, now.topics}, "groups": {before.groups, now.groups}} {
		var v [2]int64
		for i, t := range pair {
			n, _ := wire.At(t, "dataVersion", "counter").(json.Number)
			v[i], _ = n.Int64()
		}
		if v[1] < v[0] {
			p.differ("the version of the %s is %d, and was %d", what, v[1], v[0])
		}
	}
}

// progress compares where groups are. What a kill leaves is in the file; that it is not older than it may be was looked at then.
func (p *phase) progress(before, now *tables) error {
	p.ledger.mu.Lock()
	defer p.ledger.mu.Unlock()
	for _, key := range sortedKeys(p.ledger.offsets) {
		o := p.ledger.offsets[key]
		got, err := p.committed(key)
		if err != nil {
			return err
		}
		p.report.Offsets++
		switch {
		case before.filed == nil && got != o.last && got != o.perhap:
			p.differ("offset of %s in %v is %d, and was %d", key.group, key.place, got, o.last)
		case before.filed != nil:
			filed := filedOffset(before.filed, key)
			if got != filed {
				p.differ("offset of %s in %v is %d, and the file says %d", key.group, key.place, got, filed)
			}
			if filed < o.floor {
				p.differ("offset of %s in %v is %d after a kill, and was %d when that broker started", key.group, key.place, filed, o.floor)
			}
		}
		o.floor, o.last, o.perhap = got, got, got
	}
	if before.exact {
		p.steady(before, now)
	}
	return nil
}

func sortedKeys(m map[offsetKey]*offset) []offsetKey {
	return slices.SortedFunc(maps.Keys(m), func(a, b offsetKey) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
}

func (p *phase) committed(key offsetKey) (int64, error) {
	f, err := p.c.Call(int(code.QueryConsumerOffset), wire.Ext("consumerGroup", key.group, "topic", key.topic, "queueId", key.queue), nil)
	if err != nil || f.Code == int(code.QueryNotFound) {
		return 0, err
	}
	f, err = accepted(f, nil)
	if err != nil {
		return 0, err
	}
	return f.Int("offset"), nil
}

// steady compares all offsets, and those of the delay levels, of a broker that had nothing to do before it was stopped: none is older now.
// Those that nobody but clients moves were compared one by one.
func (p *phase) steady(before, now *tables) {
	for _, pair := range [][2]any{{wire.At(before.offsets, "offsetTable"), wire.At(now.offsets, "offsetTable")}} {
		was, _ := pair[0].(map[string]any)
		for _, name := range slices.Sorted(maps.Keys(was)) {
			queues, _ := was[name].(map[string]any)
			for q, v := range queues {
				p.report.Offsets++
				if a, b := number(v), number(wire.At(pair[1], name, q)); b < a {
					p.differ("offset of %s in queue %s is %d, and was %d", name, q, b, a)
				}
			}
		}
	}
	levels, _ := wire.At(before.delays, "offsetTable").(map[string]any)
	for level, v := range levels {
		p.report.Offsets++
		if a, b := number(v), number(wire.At(now.delays, "offsetTable", level)); b < a {
			p.differ("delay level %s is at %d, and was at %d", level, b, a)
		}
	}
}

func number(v any) int64 {
	n, _ := v.(json.Number)
	i, _ := n.Int64()
	return i
}

// filed is what the offsets' file says.
func filed(store string) (any, error) {
	for _, name := range []string{"lmqConsumerOffset.json", "consumerOffset.json"} {
		for _, bak := range []string{"", ".bak"} {
			b, err := os.ReadFile(filepath.Join(store, "config", name+bak))
			if errors.Is(err, os.ErrNotExist) || err == nil && len(b) == 0 {
				continue
			}
			if err != nil {
				return nil, err
			}
			v, err := wire.Loose(b)
			if err != nil {
				continue // cut short by the kill
			}
			return v, nil
		}
	}
	return map[string]any{}, nil
}

func filedOffset(file any, key offsetKey) int64 {
	return number(wire.At(file, "offsetTable", key.topic+"@"+key.group, fmt.Sprint(key.queue)))
}

// lookUp asks for some messages by key.
func (p *phase) lookUp() error {
	p.ledger.mu.Lock()
	var some []*message
	for range 30 {
		if m := p.ledger.order[p.rnd.IntN(len(p.ledger.order))]; m.kind == direct && m.stored == yes && m.phase >= p.indexed && m.physical > p.begin && m.key == "" && m.inner == 0 {
			some = append(some, m)
		}
	}
	p.ledger.mu.Unlock()
	for _, m := range some {
		for _, unique := range []bool{false, true} {
			key := map[bool]string{false: "k" + m.id, true: m.id}[unique]
			p.report.Lookups++
			err := wait(10*time.Second, func() error {
				f, err := p.c.Call(int(code.QueryMessage), wire.Ext("topic", m.topic, "key", key, "maxNum", 32, "beginTimestamp", 0,
					"endTimestamp", int64(1)<<62, "_UNIQUE_KEY_QUERY", unique), nil)
				if err != nil {
					return err
				}
				recs, err := wire.Records(f.Body)
				if err == nil && !slices.ContainsFunc(recs, func(rec wire.Record) bool { return rec.Physical == m.physical }) {
					err = fmt.Errorf("%v is not found by key %s: %v", m, key, f)
				}
				return err
			})
			if err != nil {
				p.differ("%v", err)
			}
		}
	}
	return nil
}

// end ends the broker if that has not been done, and notes what the next one is to find.
func (p *phase) end(how ending, after *tables) error {
	store := testkit.StoreDir(p.server)
	last := p.number == p.Switches
	switch how {
	case quiet:
		if err := p.checked(); err != nil {
			return err
		}
		if err := p.book.look(reader{p.c}, last); err != nil {
			return err
		}
		now, err := reader{p.c}.tables()
		if err != nil {
			return err
		}
		*after = *now
		after.exact = true
		if err := p.server.Stop(); err != nil {
			return err
		}
	case killed:
		var err error
		if after.filed, err = filed(store); err != nil {
			return err
		}
		if p.number < p.Switches && p.run.impl(p.number+1).Name() == "java" {
			p.indexed = p.number + 1 // it deletes index files that may be damaged, and indexes only what it recovers
		}
	}
	switch _, err := os.Stat(filepath.Join(store, "abort")); {
	case (err == nil) == (how == killed):
	case err == nil && p.impl == "java": // it does not wait for long until all is dispatched, and says so by leaving the file
		p.Progress("%2d %-6s was stopped, and has left the file abort", p.number, p.impl)
	default:
		p.differ("after phase %d (%s, %s) the file abort: %v", p.number, p.impl, how, err)
	}
	if !last {
		p.report.Switches++
		switch how {
		case quiet:
			p.report.Quiet++
		case busy:
			p.report.Stops++
		case killed:
			p.report.Kills++
		}
	}
	return nil
}

// drain waits until everything that is to come has come. Consumers acknowledge, and producers decide, all that there is.
func (p *phase) drain(ctx context.Context) error {
	r, c := reader{p.c}, p.c
	rnd := rand.New(rand.NewPCG(p.Seed, uint64(p.number)))
	began := time.Now()
	// Passes are counted, not time: a machine that stands still for a while has not waited.
	for pass, said := 0, 0; ; pass++ {
		time.Sleep(100 * time.Millisecond)
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := errors.Join(p.announce(c), p.answer(c, rnd)); err != nil {
			return err
		}
		for {
			n, err := p.popOnce(c, rnd, true)
			if err != nil {
				return err
			}
			m, err := p.popTurn(c, rnd, true)
			if err != nil {
				return err
			}
			if n+m == 0 {
				break
			}
		}
		if err := p.book.look(r, false); err != nil {
			return err
		}
		missing := p.ledger.missing()
		if len(missing) == 0 {
			break
		}
		if s := int(time.Since(began) / (10 * time.Second)); s > said {
			said = s
			p.Progress("%2d %-6s waits for %d messages, such as %s", p.number, p.impl, len(missing), strings.Join(missing[:min(3, len(missing))], ", "))
		}
		if pass > 900 {
			for _, id := range missing {
				p.differ("%s has not come", id)
			}
			break
		}
	}
	return nil
}
