package filter

import (
	"cmp"
	"errors"
	"math"
	"strings"
)

// kind is the Java type of a value.
type kind uint8

const (
	null    kind = iota
	failed       // Java throws: the message does not match, whatever is around
	boolean      // Boolean
	integer      // Integer
	long         // Long
	double       // Double
	text         // String
)

// value is what a part of an expression is for one message. A text shares the memory of the record.
type value struct {
	kind kind
	n    int64 // the number, the bits of a double, or 1 for true
	s    string
}

func boolValue(b bool) value {
	if b {
		return value{kind: boolean, n: 1}
	}
	return value{kind: boolean}
}

func doubleValue(f float64) value { return value{kind: double, n: int64(math.Float64bits(f))} }

func (v *value) float() float64 {
	if v.kind == double {
		return math.Float64frombits(uint64(v.n))
	}
	return float64(v.n)
}

func (v *value) isNumber() bool { return v.kind == integer || v.kind == long || v.kind == double }

// truth is the value of a condition.
type truth uint8

const (
	unknown truth = iota
	no
	yes
	broken // see failed
)

func truthOf(b bool) truth {
	if b {
		return yes
	}
	return no
}

func (t truth) value() value {
	switch t {
	case yes, no:
		return boolValue(t == yes)
	case broken:
		return value{kind: failed}
	}
	return value{}
}

func (t truth) not() truth {
	switch t {
	case yes:
		return no
	case no:
		return yes
	}
	return t
}

var errCompare = errors.New("cannot be compared")

// compare is ComparisonExpression.__compare: values of one type by their order, a text as a value of the other one's type, numbers as
// the wider of the two types. Anything else is unequal, and the left one smaller. False: Java throws.
func compare(a, b *value) (int, bool) {
	switch {
	case a.kind == b.kind:
		return compareSame(a, b), true
	case a.isNumber() && b.isNumber():
		if a.kind == double || b.kind == double {
			return compareDoubles(a.float(), b.float()), true
		}
		return cmp.Compare(a.n, b.n), true
	case a.kind == text:
		x, ok := a.as(b.kind)
		return compareSame(&x, b), ok
	case b.kind == text:
		if a.kind == boolean {
			return 0, false // Java casts the wrong one of the two
		}
		x, ok := b.as(a.kind)
		return compareSame(a, &x), ok
	}
	return -1, true
}

func compareSame(a, b *value) int {
	switch a.kind {
	case text:
		return strings.Compare(a.s, b.s)
	case double:
		return compareDoubles(a.float(), b.float())
	}
	return cmp.Compare(a.n, b.n)
}

// as reads a text as a value of another type.
func (v *value) as(k kind) (value, bool) {
	switch k {
	case boolean:
		return boolValue(strings.EqualFold(v.s, "true")), true
	case integer:
		n, ok := parseWhole(v.s, 32)
		return value{kind: integer, n: n}, ok
	case long:
		n, ok := parseWhole(v.s, 64)
		return value{kind: long, n: n}, ok
	case double:
		f, ok := parseDouble(v.s)
		return doubleValue(f), ok
	}
	return value{}, false
}

// equal is the evaluation of =: both absent is true, the left one alone unknown, the right one alone false.
func equal(a, b value) truth {
	switch {
	case a.kind == failed || b.kind == failed:
		return broken
	case a.kind == null && b.kind == null:
		return yes
	case a.kind == null:
		return unknown
	case b.kind == null:
		return no
	case a.kind == text && b.kind == text: // their order takes longer
		return truthOf(a.s == b.s)
	}
	c, ok := compare(&a, &b)
	if !ok {
		return broken
	}
	return truthOf(c == 0)
}

// order is an operator of <, <=, > and >=.
type order uint8

const (
	less order = iota
	lessOrEqual
	greater
	greaterOrEqual
)

var orders = map[string]order{"<": less, "<=": lessOrEqual, ">": greater, ">=": greaterOrEqual}

func (o order) holds(c int) bool {
	switch o {
	case less:
		return c < 0
	case lessOrEqual:
		return c <= 0
	case greater:
		return c > 0
	}
	return c >= 0
}

// compare is the evaluation of <, <=, > and >= for two values that are there. Two texts are compared as doubles.
func (o order) compare(a, b value) truth {
	if a.kind == text && b.kind == text {
		x, ok := parseDouble(a.s)
		y, ok2 := parseDouble(b.s)
		if !ok || !ok2 {
			return broken
		}
		return truthOf(o.holds(compareDoubles(x, y)))
	}
	c, ok := compare(&a, &b)
	if !ok {
		return broken
	}
	return truthOf(o.holds(c))
}
