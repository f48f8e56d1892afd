package timer

import (
	"encoding/base64"
	"errors"
	"strconv"
	"strings"
)

// A handle is what a producer recalls its message with (RecallMessageHandle; spec: behaviour.md 10.3): base64, of the alphabet for URLs
// and with padding, of five words with a blank between them.
//
//	v1 topic broker time uniqueKey
//
// The time is one ms behind that of the slot, so that rounding it down finds the slot again.
type Handle struct {
	Topic, Broker, Time, UniqKey string
}

// ErrHandle says that a text is no handle; its text is the remark of Java's answer.
var ErrHandle = errors.New("recall handle is invalid")

// AppendHandle appends the handle of a message.
func AppendHandle(dst []byte, topic, broker string, ms int64, uniqKey string) []byte {
	var words [512]byte
	b := append(words[:0], "v1 "...)
	b = append(append(b, topic...), ' ')
	b = append(append(b, broker...), ' ')
	b = append(strconv.AppendInt(b, ms, 10), ' ')
	return base64.URLEncoding.AppendEncode(dst, append(b, uniqKey...))
}

// ParseHandle reads a handle. More words than five are ignored, and so is missing padding.
func ParseHandle(text string) (Handle, error) {
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(text, "="))
	if err != nil {
		return Handle{}, ErrHandle
	}
	w := strings.Split(string(raw), " ")
	if len(w) < 5 || w[0] != "v1" {
		return Handle{}, ErrHandle
	}
	return Handle{Topic: w[1], Broker: w[2], Time: w[3], UniqKey: w[4]}, nil
}
