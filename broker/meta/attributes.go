package meta

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

// attribute is one key that a topic or a group may carry (TopicAttributes, SubscriptionGroupAttributes).
type attribute struct {
	fixed  bool // cannot change once the topic exists
	verify func(value string) error
}

func oneOf(values ...string) func(string) error {
	return func(v string) error {
		if !slices.Contains(values, v) {
			return errors.New("value is not in set: " + javaSet(values))
		}
		return nil
	}
}

// javaSet prints a set as Java's toString does. Java's order is that of a hash table; ours is the order of declaration.
func javaSet(values []string) string { return "[" + strings.Join(values, ", ") + "]" }

func within(lo, hi int64) func(string) error {
	return func(v string) error {
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil {
			return fmt.Errorf("For input string: %q", v) //nolint:staticcheck // the text of Java's NumberFormatException
		}
		if n < lo || n > hi {
			return fmt.Errorf("value is not in range(%d, %d)", lo, hi)
		}
		return nil
	}
}

func anyText(string) error { return nil }

// Message types of a topic.
const (
	AttrMessageType = "message.type"
	TypeMixed       = "MIXED"
)

var topicAttributes = map[string]attribute{
	"queue.type":     {fixed: true, verify: oneOf("BatchCQ", "SimpleCQ")},
	"cleanup.policy": {fixed: true, verify: oneOf("DELETE", "COMPACTION")},
	AttrMessageType:  {verify: oneOf("UNSPECIFIED", "NORMAL", "FIFO", "DELAY", "TRANSACTION", "PRIORITY", "LITE", TypeMixed)},
	"reserve.time":   {verify: within(-1, math.MaxInt64)},

	"lite.topic.expiration": {verify: within(-1, 43200)},
}

var groupAttributes = map[string]attribute{
	"priority.factor":                   {verify: within(0, 100)},
	"lite.bind.topic":                   {verify: anyText},
	"lite.sub.model":                    {verify: oneOf("Shared", "Exclusive")},
	"lite.sub.reset.offset.exclusive":   {verify: boolean},
	"lite.sub.reset.offset.unsubscribe": {verify: boolean},
	"lite.sub.client.quota":             {verify: within(-1, math.MaxInt64)},
	"lite.sub.client.max.event.cnt":     {verify: within(10, math.MaxInt64)},
	"lite.sub.wildcard":                 {verify: anyText},
}

func boolean(v string) error {
	if v != "true" && v != "false" {
		return errors.New("boolean attribute format is wrong.") //nolint:staticcheck // Java's text
	}
	return nil
}

// alterAttributes applies changes of the form {"+key": value, "-key": ""} to the attributes that are there. The texts of
// errors are those of Java's AttributeUtil: they travel to the operator as the remark of code 1.
func alterAttributes(known map[string]attribute, create bool, current, changes map[string]string) (map[string]string, error) {
	out := maps.Clone(current)
	if out == nil {
		out = make(map[string]string, len(changes))
	}
	seen := make(map[string]bool, len(changes))
	for _, op := range slices.Sorted(maps.Keys(changes)) {
		if op == "" {
			return nil, errors.New("wrong format key: ")
		}
		key := op[1:]
		if key == "" || strings.ContainsAny(key, "+-") {
			return nil, errors.New("kv string format wrong.") //nolint:staticcheck // Java's text
		}
		if seen[key] {
			return nil, fmt.Errorf("alter duplication key. key: %s", key)
		}
		seen[key] = true
		if err := alterOne(known, create, op, key, changes[op], current, out); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func alterOne(known map[string]attribute, create bool, op, key, value string, current, out map[string]string) error {
	_, had := current[key]
	switch {
	case op[0] != '+' && create:
		return fmt.Errorf("only add attribute is supported while creating topic. key: %s", key)
	case op[0] == '-' && !had:
		return fmt.Errorf("attempt to delete a nonexistent key: %s", key)
	case op[0] != '+' && op[0] != '-':
		return fmt.Errorf("wrong format key: %s", op)
	}
	a, ok := known[key]
	if !ok {
		return fmt.Errorf("unsupported key: %s", key)
	}
	if a.fixed && !create {
		return fmt.Errorf("attempt to update an unchangeable attribute. key: %s", key)
	}
	if op[0] == '-' {
		delete(out, key)
		return nil
	}
	if err := a.verify(value); err != nil {
		return err
	}
	out[key] = value
	return nil
}

// ParseAttributes takes "+key=value,-key" apart (AttributeParser.parseToMap).
func ParseAttributes(text string) (map[string]string, error) {
	out := make(map[string]string)
	if text == "" {
		return out, nil
	}
	for kv := range strings.SplitSeq(text, ",") {
		key, value, assign := strings.Cut(kv, "=")
		switch {
		case assign && !strings.Contains(key, "+"):
			return nil, fmt.Errorf("add/alter attribute format is wrong: %s", key)
		case !assign && !strings.Contains(key, "-"):
			return nil, fmt.Errorf("delete attribute format is wrong: %s", key)
		}
		if _, twice := out[key]; twice {
			return nil, fmt.Errorf("key duplication: %s", key)
		}
		value, _, _ = strings.Cut(value, "=") // Java takes what is between the first two signs
		out[key] = value
	}
	return out, nil
}
