package filter

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"unsafe"
)

// Bounds of an expression. Parsing and evaluation go as deep as the expression does; without a bound one request could use up the
// stack, which ends the process.
const (
	maxDepth = 500
	// MaxLength is how many bytes of text an expression may have. Parsing takes microseconds for each.
	MaxLength = 32 << 10
	// maxProperties bounds what one evaluation compares each property of a message with.
	maxProperties = 1000
)

var (
	errTooDeep        = errors.New("too deeply nested")
	errManyProperties = errors.New("too many properties")
)

// Expression is a compiled expression. It may be used by many goroutines.
type Expression struct {
	names    []string // of the properties that it looks at
	cond     condition
	messages sync.Pool // *message
}

// message is what an evaluation knows of a message: the properties that the expression looks at.
type message struct{ props []property }

type property struct {
	value string
	there bool
}

// Compile reads an expression. It keeps nothing of the text's memory. The error says what is wrong with it.
func Compile(text string) (*Expression, error) {
	if len(text) > MaxLength {
		return nil, fmt.Errorf("filter expression of %d bytes: more than %d are too many", len(text), MaxLength)
	}
	tree, err := parse(strings.Clone(text))
	if err != nil {
		return nil, fmt.Errorf("filter expression: %w", err)
	}
	var b builder
	root, err := b.disjunction(tree)
	var cond condition
	if err == nil {
		cond, err = root.asCondition()
	}
	if err == nil && b.many {
		err = errManyProperties
	}
	if err != nil {
		return nil, fmt.Errorf("filter expression: %w", err)
	}
	e := &Expression{names: b.names, cond: cond}
	e.messages.New = func() any { return &message{props: make([]property, len(e.names))} }
	return e, nil
}

// Match tells whether the expression is true for a message with these properties, in the form in which they are stored.
func (e *Expression) Match(properties []byte) bool {
	m := e.messages.Get().(*message)
	e.read(m, properties)
	t := e.cond(m)
	clear(m.props)
	e.messages.Put(m)
	return t == yes
}

// Separators of stored properties (Java MessageDecoder).
const (
	nameEnd = 1
	pairEnd = 2
)

// read notes the properties that the expression looks at. A pair without a name or a value does not count, and of equal names the last
// one does.
func (e *Expression) read(m *message, rest []byte) {
	for len(rest) > 0 {
		pair := rest
		if i := bytes.IndexByte(rest, pairEnd); i >= 0 {
			pair, rest = rest[:i], rest[i+1:]
		} else {
			rest = nil
		}
		k := bytes.IndexByte(pair, nameEnd)
		if k <= 0 || k == len(pair)-1 {
			continue
		}
		for i, name := range e.names {
			if len(name) == k && name == string(pair[:k]) {
				v := pair[k+1:]
				m.props[i] = property{unsafe.String(unsafe.SliceData(v), len(v)), true}
				break
			}
		}
	}
}
