package processor

import (
	"testing"

	"apogee/compat/body"
	"apogee/compat/fastjson"
	"apogee/remoting"
	"apogee/remoting/code"
)

// beats are heartbeats as clients send them every 30 s: of a producer, and of a consumer with two subscriptions.
func beats() map[string][]byte {
	producer := body.HeartbeatData{ClientID: "192.168.1.17@54321#90817263544", ProducerDataSet: []body.ProducerData{{GroupName: "order-service"}}}
	consumer := producer
	consumer.ProducerDataSet = []body.ProducerData{{GroupName: "CLIENT_INNER_PRODUCER"}}
	consumer.ConsumerDataSet = []body.ConsumerData{{
		GroupName: "cg", ConsumeType: body.ConsumePassively, MessageModel: body.Clustering, ConsumeFromWhere: body.ConsumeFromLastOffset,
		SubscriptionDataSet: []body.SubscriptionData{
			{Topic: "BenchTopic", SubString: "*", SubVersion: 1700000000000, ExpressionType: body.ExpressionTag},
			{Topic: "%RETRY%cg", SubString: "*", SubVersion: 1700000000000, ExpressionType: body.ExpressionTag},
		},
	}}
	return map[string][]byte{"producer": fastjson.Marshal(&producer), "consumer": fastjson.Marshal(&consumer)}
}

// BenchmarkHeartbeat is a heartbeat that says what the one before it said.
func BenchmarkHeartbeat(b *testing.B) {
	for name, text := range beats() {
		b.Run(name, func(b *testing.B) {
			g, _ := nullRig(b)
			r := remoting.NewRequest(remoting.Request{Code: code.HeartBeat, Version: 513, Body: text}, func(*remoting.Reply) {})
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				g.heartbeat(r)
			}
		})
	}
}
