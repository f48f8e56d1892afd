package processor

import (
	"testing"

	"apogee/compat/body"
	"apogee/remoting"
)

// TestPopThatGoesOnElsewhereAnswersAlone: whoever wakes a pop sends the answers of those it has woken together. One that has to go on in a
// lane would come too late for that, and its answer would stay behind.
func TestPopThatGoesOnElsewhereAnswersAlone(t *testing.T) {
	op := &popOp{group: &body.SubscriptionGroupConfig{GroupName: "G"}, topic: &body.TopicConfig{TopicName: "T"}, out: new(remoting.Batch)}
	op.letGo()
	if op.out != nil {
		t.Error("its answer goes with a batch that has left")
	}
}
