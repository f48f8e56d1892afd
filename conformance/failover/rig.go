package failover

import (
	"context"
	"errors"
	"fmt"
	"time"

	"apogee/conformance/wire"
	"apogee/internal/testkit"
	"apogee/remoting/code"
)

// rig is a cluster with its clients.
type rig struct {
	cluster *cluster
	lines   *lines
	book    *book
	made    *made
	load    *load
	ctx     context.Context // of the clients
	cancel  context.CancelFunc
}

func newRig(dir string, pairs int, conf testkit.Props, said func(string, ...any)) (*rig, error) {
	c, err := newCluster(dir, pairs, conf)
	if err != nil {
		return nil, err
	}
	r := &rig{cluster: c, lines: &lines{}, book: newBook(said)}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.made = newMade(r.lines)
	r.load = &load{guide: &guide{lines: r.lines, namesrv: c.ns.addr}, book: r.book, made: r.made, lines: r.lines}
	return r, nil
}

// begin starts the cluster and the readers. Senders are the caller's.
func (r *rig) begin(ctx context.Context, target testkit.Target) error {
	if err := r.cluster.start(target); err != nil {
		return err
	}
	for _, p := range r.cluster.pairs {
		addr := p.members[0].addr
		// An isolated master takes no topics until it is online.
		err := until(ctx, patience, "topic at "+p.name, func() (bool, string) {
			err := errors.Join(r.made.topicAt(addr, topic, queues), r.made.groupAt(addr, group, 16), r.made.groupAt(addr, officialGroup, 16))
			return err == nil, fmt.Sprint(err)
		})
		if err != nil {
			return err
		}
	}
	r.load.done.Go(func() { r.load.guide.run(r.ctx) })
	if err := r.whole(ctx); err != nil {
		return err
	}
	for _, p := range r.cluster.pairs {
		if err := r.made.more(p); err != nil {
			return err
		}
		r.load.readers(r.ctx, p)
	}
	return r.settle(ctx, "before")
}

// quiet ends the clients.
func (r *rig) quiet() {
	r.cancel()
	r.load.done.Wait()
}

func (r *rig) close() error {
	r.quiet()
	r.lines.close()
	return r.cluster.stop()
}

// whole waits until each pair is as it should be.
func (r *rig) whole(ctx context.Context) error {
	for _, p := range r.cluster.pairs {
		err := until(ctx, patience, p.name+" is whole", func() (bool, string) {
			ok, state := r.load.guide.whole(p)
			synced, err := r.lines.inSync(p.members[0].addr)
			active, err2 := r.lines.runtime(p.members[1].addr, "brokerActive")
			return ok && synced && active == "false", fmt.Sprintf("%s; slave in sync %v (%v), slave active %s (%v)", state, synced, err, active, err2)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// finish reads all from master and slave, once they have the same.
func (r *rig) finish(ctx context.Context) error {
	for _, p := range r.cluster.pairs {
		err := until(ctx, patience, p.name+" has one log", func() (bool, string) {
			a, err := r.lines.runtime(p.members[0].addr, "commitLogMaxOffset")
			b, err2 := r.lines.runtime(p.members[1].addr, "commitLogMaxOffset")
			same := r.sameEnds(p)
			return err == nil && err2 == nil && a == b && same == "", fmt.Sprint(a, " ", b, " ", err, err2, same)
		})
		if err != nil {
			return err
		}
		for _, m := range p.members {
			if err := errors.Join(drain(ctx, r.lines, r.book, p, m.addr), r.has(ctx, m, 100*time.Second, time.Now(), "at the end")); err != nil {
				return err
			}
		}
	}
	return nil
}

// sameEnds is "" if the queues of both end at the same offsets.
func (r *rig) sameEnds(p *pair) string {
	for q := range queues {
		var ends [2]int64
		for i, m := range p.members {
			f, err := r.lines.must(m.addr, code.GetMaxOffset, wire.Ext("topic", topic, "queueId", q), nil)
			if err != nil {
				return err.Error()
			}
			ends[i] = f.Int("offset")
		}
		if ends[0] != ends[1] {
			return fmt.Sprintf("queue %d ends at %v", q, ends)
		}
	}
	return ""
}
