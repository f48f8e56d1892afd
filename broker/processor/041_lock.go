package processor

import (
	"context"
	"sync"
	"time"

	"apogee/compat/body"
	"apogee/compat/fastjson"
	"apogee/remoting"
	"apogee/remoting/code"
)

// peerTimeout is how long a replica has to grant or free locks.
const peerTimeout = time.Second

// 041 LOCK_BATCH_MQ: an orderly consumer takes, or renews, the queues that it was assigned (AdminBrokerProcessor.lockBatchMQ). Always 0,
// with the queues that it holds now.
//
// With lockInStrictMode and more than one replica a queue is held once most of totalReplicas grant it: the other brokers of this name
// are asked, unless the request says onlyThisBroker. What was granted here stays granted while that is not so. It waits for others and
// runs in a lane.
func (p *Processor) lockQueues(r *remoting.Request) {
	var b body.LockBatchRequestBody
	if !decodeBody(r, &b) {
		return
	}
	held := p.Locks.Lock(b.ConsumerGroup, b.ClientID, b.MQSet)
	if cfg := p.cfg(); cfg.StrictLocks && !b.OnlyThisBroker {
		if most := cfg.Replicas/2 + 1; most > 1 {
			held = p.lockMost(&b, held, most)
		}
	}
	replyJSON(r, &body.LockBatchResponseBody{LockOKMQSet: held})
}

// 042 UNLOCK_BATCH_MQ: an orderly consumer gives queues back (AdminBrokerProcessor.unlockBatchMQ). Always 0. In strict mode the other
// brokers of this name are told; Java tells them without waiting.
func (p *Processor) unlockQueues(r *remoting.Request) {
	var b body.LockBatchRequestBody
	if !decodeBody(r, &b) {
		return
	}
	p.Locks.Unlock(b.ConsumerGroup, b.ClientID, b.MQSet)
	if p.cfg().StrictLocks && !b.OnlyThisBroker {
		b.OnlyThisBroker = true
		p.askPeers(remoting.Outgoing{Code: code.UnlockBatchMQ, Body: fastjson.Marshal(&b)}, nil)
	}
	replyOK(r)
}

// lockMost asks the replicas for the queues that this broker has granted, and returns those that so many grant.
func (p *Processor) lockMost(b *body.LockBatchRequestBody, held []body.MessageQueue, most int) []body.MessageQueue {
	ask := *b
	ask.OnlyThisBroker, ask.MQSet = true, held
	votes := make(map[body.MessageQueue]int, len(held))
	for _, q := range held {
		votes[q] = 1
	}
	if len(held) > 0 {
		p.askPeers(remoting.Outgoing{Code: code.LockBatchMQ, Body: fastjson.Marshal(&ask)}, func(granted []body.MessageQueue) {
			for _, q := range granted {
				if votes[q] > 0 { // and not what this broker has refused
					votes[q]++
				}
			}
		})
	}
	out := make([]body.MessageQueue, 0, len(held))
	for _, q := range held {
		if votes[q] >= most {
			out = append(out, q)
		}
	}
	return out
}

// askPeers makes one request to every other broker of this name and waits for their answers; granted is called for each answer with
// queues, one after the other.
func (p *Processor) askPeers(out remoting.Outgoing, granted func([]body.MessageQueue)) {
	ctx, cancel := context.WithTimeout(context.Background(), peerTimeout)
	defer cancel()
	own := p.cfg().ID
	var mu sync.Mutex
	var wg sync.WaitGroup
	for id, addr := range p.Peers.Members() {
		if id == own {
			continue
		}
		wg.Go(func() {
			resp, err := p.Peers.Call(ctx, addr, out)
			if err != nil || resp.Code != code.Success {
				p.Log.Warn("replica does not answer for locks", "addr", addr, "code", out.Code, "err", err)
				return
			}
			if granted == nil {
				return
			}
			var b body.LockBatchResponseBody
			if err := fastjson.Unmarshal(resp.Body, &b); err != nil {
				p.Log.Warn("replica's locks are not readable", "addr", addr, "err", err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			granted(b.LockOKMQSet)
		})
	}
	wg.Wait()
}
