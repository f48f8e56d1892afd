package meta

import (
	"strings"
	"testing"
)

// The texts are what TopicValidator of Java 5.5.0 printed for the same names.
func TestNamesAreJudgedInJavasWords(t *testing.T) {
	long, retry := strings.Repeat("a", 128), RetryPrefix+strings.Repeat("a", 249)
	topics := map[string]string{
		"":                            "The specified topic is blank.",
		" ":                           "The specified topic is blank.",
		"a b":                         "The specified topic: a b, contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$",
		"a.b":                         "The specified topic: a.b, contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$",
		"héé":                         "The specified topic: héé, contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$",
		long:                          "The specified topic: " + long + ", is longer than topic max length: 127",
		retry:                         "The specified topic is DLQ or Retry topic: " + retry + ", and it's longer than topic max length: 255",
		long[:127]:                    "",
		retry[:255]:                   "",
		DLQPrefix + long + long[:122]: "",
		"%RETRY%G|x_y-Z0":             "",
		"\t":                          "The specified topic is blank.",
		"with\nnewline":               "The specified topic: with\nnewline, contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$",
		"%DLQ%" + strings.Repeat("x", 251): "The specified topic is DLQ or Retry topic: %DLQ%" + strings.Repeat("x", 251) +
			", and it's longer than topic max length: 255",
	}
	for name, want := range topics {
		if got := ValidateTopic(name); got != want {
			t.Errorf("topic %q: %q, want %q", name, got, want)
		}
	}
	group := strings.Repeat("g", 121)
	groups := map[string]string{
		"":          "The specified group is blank.",
		"a b":       "The specified group: a b, contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$",
		group:       "The specified group: " + group + ", is longer than group max length: 120",
		group[:120]: "",
	}
	for name, want := range groups {
		if got := ValidateGroup(name); got != want {
			t.Errorf("group %q: %q, want %q", name, got, want)
		}
	}
}

func TestAttributeChanges(t *testing.T) {
	had := map[string]string{"message.type": "FIFO", "queue.type": "BatchCQ"}
	for _, c := range []struct {
		name    string
		create  bool
		changes string
		want    map[string]string
		err     string
	}{
		{"a new topic takes what is added", true, "+message.type=DELAY,+reserve.time=5", map[string]string{"message.type": "DELAY", "reserve.time": "5"}, ""},
		{"a new topic takes fixed ones", true, "+queue.type=BatchCQ", map[string]string{"queue.type": "BatchCQ"}, ""},
		{"a new topic has nothing to remove", true, "-message.type", nil, "only add attribute is supported while creating topic. key: message.type"},
		{"an old topic changes one", false, "+message.type=NORMAL", map[string]string{"message.type": "NORMAL", "queue.type": "BatchCQ"}, ""},
		{"an old topic loses one", false, "-message.type", map[string]string{"queue.type": "BatchCQ"}, ""},
		{"what is not there cannot go", false, "-reserve.time", nil, "attempt to delete a nonexistent key: reserve.time"},
		{"fixed ones stay", false, "+queue.type=SimpleCQ", nil, "attempt to update an unchangeable attribute. key: queue.type"},
		{"unknown keys are refused", false, "+nope=1", nil, "unsupported key: nope"},
		{
			"values are checked", false, "+message.type=SOMETHING", nil,
			"value is not in set: [UNSPECIFIED, NORMAL, FIFO, DELAY, TRANSACTION, PRIORITY, LITE, MIXED]",
		},
		{"numbers have bounds", false, "+lite.topic.expiration=43201", nil, "value is not in range(-1, 43200)"},
		{"numbers are numbers", false, "+reserve.time=x", nil, `For input string: "x"`},
		{"a sign is needed", false, "message.type=FIFO", nil, "add/alter attribute format is wrong: message.type"},
		{"a sign is needed to remove", false, "message.type", nil, "delete attribute format is wrong: message.type"},
		{"a key comes once", false, "+message.type=FIFO,+message.type=NORMAL", nil, "key duplication: +message.type"},
		{"a key is added or removed, not both", false, "+message.type=FIFO,-message.type", nil, "alter duplication key. key: message.type"},
		{"nothing asked, nothing changed", false, "", had, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			current := had
			if c.create {
				current = nil
			}
			var got map[string]string
			changes, err := ParseAttributes(c.changes)
			if err == nil {
				got, err = alterAttributes(topicAttributes, c.create, current, changes)
			}
			if text := errText(err); text != c.err {
				t.Fatalf("error %q, want %q", text, c.err)
			}
			if err == nil && !equalMaps(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func equalMaps(a, b map[string]string) bool {
	if len(a) != len(b) {
		return false
	}
	for k, v := range a {
		if b[k] != v {
			return false
		}
	}
	return true
}

func FuzzParseAttributes(f *testing.F) {
	f.Add("+message.type=FIFO,-a")
	f.Add("=,+,-")
	f.Fuzz(func(t *testing.T, s string) {
		m, err := ParseAttributes(s)
		if err != nil {
			return
		}
		_, _ = alterAttributes(topicAttributes, true, nil, m)
		_, _ = alterAttributes(groupAttributes, false, map[string]string{"a": "1"}, m)
	})
}
