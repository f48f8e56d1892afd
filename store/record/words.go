package record

import (
	"strings"
	"unsafe"
)

// Words are the properties of a message that decide where it can be found: its keys and tags, which become index keys, its delay and
// whether it names further queues. They share the memory of the properties.
type Words struct {
	Uniq, Keys, Tags, Delay string
	Multi                   bool // has PropMultiDispatch

	RealTopic, RealQueue string // of a message that waits

	of string // the properties that they were read from
}

// ReadWords picks the words from properties: of equal names the last counts, and a pair without a name or a value does not (as Pairs
// has it).
func ReadWords(props string) Words {
	w := Words{of: props}
	for rest := props; len(rest) > 0; {
		// Names are short: a loop over one is quicker than a call to look for its end.
		k := 0
		for k < len(rest) && rest[k] > PairEnd || k < len(rest) && rest[k] == 0 {
			k++
		}
		if k == len(rest) {
			break // the last pair, without a value
		}
		if rest[k] == PairEnd { // no pair
			rest = rest[k+1:]
			continue
		}
		name, value := rest[:k], rest[k+1:]
		if end := strings.IndexByte(value, PairEnd); end >= 0 {
			value, rest = value[:end], value[end+1:]
		} else {
			rest = ""
		}
		if k > 0 && len(value) > 0 {
			w.Note(name, value)
		}
	}
	return w
}

// Note takes over one pair.
func (w *Words) Note(name, value string) {
	switch name {
	case PropUniqKey:
		w.Uniq = value
	case PropKeys:
		w.Keys = value
	case PropTags:
		w.Tags = value
	case PropDelay:
		w.Delay = value
	case PropMultiDispatch:
		w.Multi = true
	case PropRealTopic:
		w.RealTopic = value
	case PropRealQueue:
		w.RealQueue = value
	}
}

// From says that w was read from props, or from what props were made of: whoever rewrites properties has seen the words on the way.
func (w *Words) From(props string) { w.of = props }

// Words are the words of m's properties: those in m.Found, if they are of these properties and not of what they were before a change.
func (m *Message) Words() Words {
	if len(m.Found.of) == len(m.Properties) && unsafe.StringData(m.Found.of) == unsafe.StringData(m.Properties) && len(m.Properties) > 0 {
		return m.Found
	}
	return ReadWords(m.Properties)
}
