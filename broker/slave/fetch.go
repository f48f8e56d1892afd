package slave

import (
	"context"
	"fmt"
	"time"

	"apogee/compat/body"
	"apogee/compat/fastjson"
	"apogee/remoting"
	"apogee/remoting/code"
	"apogee/remoting/header"
)

// Limits of a fetch: of one request, of the entries of one page (BrokerOuterAPI.getMaxPageSize), and of the times that a table may change
// under way before the next round has to do.
const (
	callTimeout = 3 * time.Second
	pageTimeout = 30 * time.Second
	pageSize    = 2000
	maxRestarts = 3
)

// master asks one broker.
type master struct {
	remoting.Caller
	addr string
}

// ask makes a request that must succeed.
func (m master) ask(ctx context.Context, timeout time.Duration, out remoting.Outgoing) (*remoting.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	resp, err := m.Call(ctx, m.addr, out)
	if err != nil {
		return nil, fmt.Errorf("request %d to %s: %w", out.Code, m.addr, err)
	}
	if resp.Code != code.Success {
		return nil, fmt.Errorf("request %d to %s: answer %d: %s", out.Code, m.addr, resp.Code, resp.Remark)
	}
	return resp, nil
}

// body makes a request whose answer is a body.
func (m master) body(ctx context.Context, what int32) ([]byte, error) {
	resp, err := m.ask(ctx, callTimeout, remoting.Outgoing{Code: what})
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

// page is one answer to a paged request.
type page[T any] struct {
	entries map[string]T
	version body.DataVersion
	total   int // entries of the table; 0 from a master that knows no pages, whose answer is the whole table
}

// paged collects a table page by page. Where the version is known already, nothing more than its first entry is fetched, and it is nil.
// A table that changes meanwhile is begun again.
func paged[T any](ctx context.Context, known body.DataVersion, get func(ctx context.Context, seq, most int32, version string) (page[T], error)) (map[string]T, body.DataVersion, error) {
	first, err := get(ctx, 0, 1, "")
	switch {
	case err != nil:
		return nil, body.DataVersion{}, err
	case first.version == known:
		return nil, known, nil
	case first.total == 0 || len(first.entries) >= first.total:
		return first.entries, first.version, nil
	}
	for range maxRestarts {
		all, version := make(map[string]T, first.total), body.DataVersion{}
		text := ""
		for {
			p, err := get(ctx, int32(len(all)), pageSize, text)
			if err != nil {
				return nil, version, err
			}
			if len(all) > 0 && p.version != version {
				break
			}
			before := len(all)
			version, text = p.version, string(fastjson.Marshal(&p.version))
			for name, e := range p.entries {
				all[name] = e
			}
			if p.total == 0 || len(all) >= p.total {
				return all, version, nil
			}
			if len(all) == before {
				return nil, version, fmt.Errorf("table of %d entries ends at %d", p.total, before)
			}
		}
	}
	return nil, body.DataVersion{}, fmt.Errorf("table changed while it was fetched, %d times", maxRestarts)
}

// topics is request 21.
func (m master) topics(ctx context.Context, known body.DataVersion) (map[string]*body.TopicConfig, body.DataVersion, error) {
	return paged(ctx, known, func(ctx context.Context, seq, most int32, version string) (p page[*body.TopicConfig], err error) {
		resp, err := m.ask(ctx, pageTimeout, remoting.Outgoing{
			Code:   code.GetAllTopicConfig,
			Header: &header.GetAllTopicConfigRequest{TopicSeq: seq, MaxTopicNum: header.Some(most), DataVersion: version},
		})
		if err != nil {
			return p, err
		}
		var w body.TopicConfigAndMappingSerializeWrapper
		if err := fastjson.Unmarshal(resp.Body, &w); err != nil {
			return p, fmt.Errorf("topics of %s: %w", m.addr, err)
		}
		var h header.GetAllTopicConfigResponse
		_ = h.DecodeFields(resp.Fields) // a master that knows no pages has none
		return page[*body.TopicConfig]{w.TopicConfigTable, w.DataVersion, int(h.TotalTopicNum.Or(0))}, nil
	})
}

// groups is request 201, with what is forbidden to the groups.
func (m master) groups(ctx context.Context, known body.DataVersion) (map[string]*body.SubscriptionGroupConfig, map[string]map[string]int32, body.DataVersion, error) {
	forbidden := make(map[string]map[string]int32)
	all, version, err := paged(ctx, known, func(ctx context.Context, seq, most int32, version string) (p page[*body.SubscriptionGroupConfig], err error) {
		resp, err := m.ask(ctx, pageTimeout, remoting.Outgoing{
			Code:   code.GetAllSubscriptionGroupConfig,
			Header: &header.GetAllSubscriptionGroupConfigRequest{GroupSeq: seq, MaxGroupNum: header.Some(most), DataVersion: version},
		})
		if err != nil {
			return p, err
		}
		var w body.SubscriptionGroupWrapper
		if err := fastjson.Unmarshal(resp.Body, &w); err != nil {
			return p, fmt.Errorf("groups of %s: %w", m.addr, err)
		}
		if seq == 0 {
			clear(forbidden)
		}
		for name, topics := range w.ForbiddenTable {
			forbidden[name] = topics
		}
		var h header.GetAllSubscriptionGroupConfigResponse
		_ = h.DecodeFields(resp.Fields)
		return page[*body.SubscriptionGroupConfig]{w.SubscriptionGroupTable, w.DataVersion, int(h.TotalGroupNum)}, nil
	})
	return all, forbidden, version, err
}
