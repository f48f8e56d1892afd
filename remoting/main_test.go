package remoting

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	// netpoll's event loops belong to the process and never end.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/cloudwego/netpoll.(*defaultPoll).Wait"))
}
