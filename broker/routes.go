package broker

import (
	"context"
	"errors"
	"fmt"

	"apogee/broker/balance"
	"apogee/compat/body"
	"apogee/compat/fastjson"
	"apogee/remoting"
	"apogee/remoting/code"
	"apogee/remoting/header"
)

// fetchRoute asks the name servers for a topic's route, one after the other, until one knows it.
func (b *Broker) fetchRoute(ctx context.Context, topic string) (*body.TopicRouteData, error) {
	servers := b.live.Get().NameServerList()
	errs := make([]error, 0, len(servers)+1)
	for _, addr := range servers {
		res, err := b.client.Call(ctx, addr, remoting.Outgoing{
			Code:   code.GetRouteInfoByTopic,
			Header: &header.GetRouteInfoByTopicRequest{Topic: topic, AcceptStandardJsonOnly: header.Some(true)},
		})
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("route of %s from %s: %w", topic, addr, err))
		case res.Code == code.TopicNotExist:
			return nil, fmt.Errorf("%s: %w", topic, balance.ErrNoTopic)
		case res.Code != code.Success:
			errs = append(errs, fmt.Errorf("route of %s from %s: answer %d: %s", topic, addr, res.Code, res.Remark))
		default:
			data := new(body.TopicRouteData)
			if err := fastjson.Unmarshal(res.Body, data); err != nil {
				errs = append(errs, fmt.Errorf("route of %s from %s: %w", topic, addr, err))
				continue
			}
			return data, nil
		}
	}
	return nil, errors.Join(append(errs, fmt.Errorf("no name server gave the route of %s", topic))...)
}
