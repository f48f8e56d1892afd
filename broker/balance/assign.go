package balance

import (
	"fmt"
	"slices"

	"apogee/compat/body"
)

// Strategies by the names that clients send (AllocateMessageQueueStrategy.getName). The others of the Java client need more than a
// name, and its brokers do not know them.
const (
	Averagely = "AVG"
	ByCircle  = "AVG_BY_CIRCLE"
)

// allocate is the share of the client at index of clients: the same as each client works out for itself where clients balance.
type allocate func(queues []body.MessageQueue, index, clients int) []body.MessageQueue

func strategy(name string) (allocate, error) {
	switch name {
	case Averagely:
		return averagely, nil
	case ByCircle:
		return byCircle, nil
	default:
		return nil, fmt.Errorf("unsupported strategy %q", name)
	}
}

// averagely gives each client one run of neighbours, the first ones one more where it does not come out even
// (AllocateMessageQueueAveragely).
func averagely(queues []body.MessageQueue, index, clients int) []body.MessageQueue {
	size, rest := len(queues)/clients, len(queues)%clients
	start := index*size + min(index, rest)
	if index < rest {
		size++
	}
	return queues[start : start+size]
}

// byCircle deals the queues out one by one (AllocateMessageQueueAveragelyByCircle).
func byCircle(queues []body.MessageQueue, index, clients int) []body.MessageQueue {
	var out []body.MessageQueue
	for i := index; i < len(queues); i += clients {
		out = append(out, queues[i])
	}
	return out
}

// Question is who asks for what.
type Question struct {
	Strategy string
	Client   string
	Clients  []string            // of the group, in order
	Queues   []body.MessageQueue // of the topic, in order; not changed
	Pop      bool
	Share    int32 // popShareQueueNum
}

// Assign is the queues of one client, each once, in order. An error says that there is no answer, on which clients keep what they have.
//
// Popping clients may share: with Share not above 0, or not below the number of clients less one, each client gets each broker's queues
// as one queue with id -1; else its own share and those of the Share clients behind it; or, with fewer queues than clients, one
// queue in turn (QueryAssignmentProcessor.allocate4Pop).
func Assign(q Question) ([]body.MessageQueue, error) {
	alloc, err := strategy(q.Strategy)
	if err != nil {
		return nil, err
	}
	if q.Pop && (q.Share <= 0 || int(q.Share) >= len(q.Clients)-1) {
		return whole(q.Queues), nil
	}
	switch {
	case q.Client == "":
		return nil, fmt.Errorf("the request names no client")
	case len(q.Queues) == 0:
		return nil, fmt.Errorf("the topic has no readable queues")
	case len(q.Clients) == 0:
		return nil, fmt.Errorf("the group has no clients")
	}
	index, ok := slices.BinarySearch(q.Clients, q.Client)
	if !ok {
		return []body.MessageQueue{}, nil
	}
	if q.Pop && len(q.Clients) > len(q.Queues) {
		return q.Queues[index%len(q.Queues):][:1], nil
	}
	out := append([]body.MessageQueue{}, alloc(q.Queues, index, len(q.Clients))...) // no share is a share: nil would be no answer
	if q.Pop {
		for i := range int(q.Share) {
			out = append(out, alloc(q.Queues, (index+1+i)%len(q.Clients), len(q.Clients))...)
		}
	}
	slices.SortFunc(out, compare)
	return slices.Compact(out), nil
}

// whole is one queue for each broker, standing for all that it has of the topic.
func whole(queues []body.MessageQueue) []body.MessageQueue {
	out := make([]body.MessageQueue, 0, 1)
	for _, q := range queues {
		q.QueueID = -1
		out = append(out, q)
	}
	return slices.Compact(out)
}
