// Package lite knows who wants which lite topic, and which of those have something new (Java 5.5 LiteSubscriptionRegistry,
// LiteEventDispatcher; spec: behaviour.md 11.3).
//
// A lite topic is a light queue of a parent topic, of which there may be hundreds of thousands. A client subscribes to some of them, or its
// group to all (wildcard). It does not ask each for messages: each client has a short list of lite topics with something new, its
// events, and a pop takes from those. A message is an event of one client of each group that wants its lite topic. In an exclusive group
// whoever subscribes last is the only one; the one before is told.
//
// Nothing of this is on disk: clients say every half minute what they subscribe to.
package lite

import "strings"

// Prefix is what names of the light queues of lite topics begin with (LiteUtil).
const Prefix = "%LMQ%$"

// Queue is the light queue of a lite topic; "" where one of the names is empty.
func Queue(parent, topic string) string {
	if parent == "" || topic == "" {
		return ""
	}
	return Prefix + parent + "$" + topic
}

// Split is the parent topic and the lite topic of a light queue.
func Split(queue string) (parent, topic string, ok bool) {
	rest, ok := strings.CutPrefix(queue, Prefix)
	if !ok {
		return "", "", false
	}
	parent, topic, ok = strings.Cut(rest, "$")
	if !ok || parent == "" || topic == "" || strings.Contains(topic, "$") {
		return "", "", false
	}
	return parent, topic, true
}
