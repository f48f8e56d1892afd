// Package leaktest fails a package's tests when goroutines are left behind.
package leaktest

import "go.uber.org/goleak"

// Main runs the tests of a package that has connections: netpoll's event loop and ours belong to the process and never end.
func Main(m goleak.TestingM) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/cloudwego/netpoll.(*defaultPoll).Wait"),
		goleak.IgnoreAnyFunction("apogee/remoting.watch"), goleak.IgnoreAnyFunction("apogee/remoting.(*worker).help"))
}
