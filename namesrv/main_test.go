package namesrv

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/cloudwego/netpoll.(*defaultPoll).Wait"),
		goleak.IgnoreAnyFunction("apogee/remoting.watch"), goleak.IgnoreAnyFunction("apogee/remoting.(*worker).help"))
}
