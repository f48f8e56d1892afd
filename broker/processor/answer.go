package processor

import (
	"fmt"

	"apogee/compat/fastjson"
	"apogee/remoting"
	"apogee/remoting/code"
	"apogee/remoting/header"
)

// decode reads a typed header, or answers code 1, which is what Java's null dereference comes to.
func decode(r *remoting.Request, h header.Decoder) bool {
	if err := r.Decode(h); err != nil {
		r.Fail(code.SystemError, "%v", err)
		return false
	}
	return true
}

// decodeBody reads a JSON body, or answers code 1.
func decodeBody(r *remoting.Request, v any) bool { return bodyInto(r, v, fastjson.Unmarshal) }

// viewBody is decodeBody for a body whose strings may share the request's memory.
func viewBody(r *remoting.Request, v any) bool { return bodyInto(r, v, fastjson.View) }

func bodyInto(r *remoting.Request, v any, read func([]byte, any) error) bool {
	if len(r.Body) == 0 {
		r.Fail(code.SystemError, "the request has no body")
		return false
	}
	if err := read(r.Body, v); err != nil {
		r.Fail(code.SystemError, "unreadable body: %v", err)
		return false
	}
	return true
}

// replyOK answers success and nothing else.
func replyOK(r *remoting.Request) { r.Reply(&remoting.Reply{}) }

// replyJSON answers success with a body.
func replyJSON(r *remoting.Request, v any) { r.Reply(&remoting.Reply{Body: fastjson.Marshal(v)}) }

// replyDone answers success, or code 1 with the error's text.
func replyDone(r *remoting.Request, err error) {
	if err != nil {
		r.Fail(code.SystemError, "%v", err)
		return
	}
	replyOK(r)
}

// versionText is a protocol version as Java names it (MQVersion; remoting.md 2.6). Releases from 4.0.0 on follow a rule; for others
// the number has to do.
func versionText(v int32) string {
	const v4 = 213 // V4_0_0
	n := v - v4
	if n < 0 || n%2 != 0 {
		return fmt.Sprintf("V_%d", v)
	}
	minors, patch := n/20, n%20/2
	return fmt.Sprintf("V%d_%d_%d", 4+minors/10, minors%10, patch)
}
