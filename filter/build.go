package filter

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// valuer and condition are compiled parts of an expression.
type (
	valuer    func(m *message) value
	condition func(m *message) truth
)

// term is a compiled part of an expression, with what Java's checks ask about it.
type term struct {
	value valuer    // set unless it is a condition
	cond  condition // set if it yields true, false or unknown (BooleanExpression)

	constant bool  // a literal
	literal  value // its value
	property int   // the property that it is, by its index; -1 if it is something else
	depth    int   // of the tree
}

// builder compiles one expression.
type builder struct {
	names []string // of the properties
	many  bool     // more than there may be
}

func conditionTerm(depth int, c condition) term { return term{cond: c, property: -1, depth: depth + 1} }

func constantTerm(v value) term {
	out := term{constant: true, literal: v, property: -1, depth: 1, value: func(*message) value { return v }}
	if v.kind == boolean || v.kind == null {
		t := unknown
		if v.kind == boolean {
			t = truthOf(v.n == 1)
		}
		out.cond = func(*message) truth { return t }
	}
	return out
}

// eval is the term as a value.
func (t *term) eval() valuer {
	if t.value != nil {
		return t.value
	}
	c := t.cond
	return func(m *message) value { return c(m).value() }
}

// asCondition is the term where a condition is needed. A property is one that is never true, since none is a Boolean.
func (t *term) asCondition() (condition, error) {
	switch {
	case t.cond != nil:
		return t.cond, nil
	case t.property >= 0:
		p := t.property
		return func(m *message) truth {
			if !m.props[p].there {
				return unknown
			}
			return no
		}, nil
	}
	return nil, errors.New("this is not a condition")
}

// deeper refuses trees that would need too much stack.
func deeper(t term, err error) (term, error) {
	if err == nil && t.depth > maxDepth {
		return term{}, errTooDeep
	}
	return t, err
}

func (b *builder) disjunction(d *disjunction) (term, error) {
	return junction(d.Terms, b.conjunction, yes)
}

func (b *builder) conjunction(c *conjunction) (term, error) { return junction(c.Terms, b.equality, no) }

// junction is the only one of some terms, or all of them joined: by OR, where one that is true ends the look at the others, or by AND, where
// one that is not true does.
func junction[N any](nodes []*N, build func(*N) (term, error), end truth) (term, error) {
	var list []condition
	depth := 0
	for _, n := range nodes {
		t, err := build(n)
		if err != nil || len(nodes) == 1 {
			return t, err
		}
		c, err := t.asCondition()
		if err != nil {
			return term{}, err
		}
		list, depth = append(list, c), max(depth, t.depth)
	}
	other := end.not()
	return deeper(conditionTerm(depth, func(m *message) truth {
		out := other
		for _, c := range list {
			switch t := c(m); t {
			case end, broken:
				return t
			case unknown:
				out = unknown
			}
		}
		return out
	}), nil)
}

func (b *builder) equality(e *equality) (term, error) {
	left, err := b.comparison(e.Left)
	for _, op := range e.Ops {
		if err != nil {
			return term{}, err
		}
		left, err = deeper(b.equalityOp(left, op))
	}
	return left, err
}

func (b *builder) equalityOp(left term, op *equalityOp) (term, error) {
	if op.Is != nil {
		not, x := op.Is.Not, left.eval()
		return conditionTerm(left.depth, func(m *message) truth {
			v := x(m)
			if v.kind == failed {
				return broken
			}
			return truthOf((v.kind == null) != not)
		}), nil
	}
	not := op.Equal == nil
	node := op.Equal
	if not {
		node = op.Unequal
	}
	right, err := b.comparison(node)
	if err != nil {
		return term{}, err
	}
	for _, t := range []*term{&left, &right} {
		if t.constant && t.literal.kind == null {
			return term{}, fmt.Errorf("NULL %w with = or <>; IS NULL does that", errCompare)
		}
	}
	if left.constant && right.constant && left.literal.kind == boolean && right.literal.kind != boolean {
		return term{}, fmt.Errorf("TRUE or FALSE %w with a value of another type", errCompare)
	}
	x, y := left.eval(), right.eval()
	depth := max(left.depth, right.depth)
	if not {
		return conditionTerm(depth, func(m *message) truth { return equal(x(m), y(m)).not() }), nil
	}
	return conditionTerm(depth, func(m *message) truth { return equal(x(m), y(m)) }), nil
}

func (b *builder) comparison(c *comparison) (term, error) {
	left, err := b.unary(c.Left)
	for _, op := range c.Ops {
		if err != nil {
			return term{}, err
		}
		left, err = deeper(b.comparisonOp(left, op))
	}
	return left, err
}

func (b *builder) comparisonOp(left term, op *comparisonOp) (term, error) {
	w := op.Word
	switch {
	case w == nil:
		right, err := b.unary(op.Right)
		if err != nil {
			return term{}, err
		}
		return ordered(left, right, orders[op.Sign])
	case w.Contains != nil:
		return stringTest(left, *w.Contains, op.Not, strings.Contains), nil
	case w.Starts != nil:
		return stringTest(left, *w.Starts, op.Not, strings.HasPrefix), nil
	case w.Ends != nil:
		return stringTest(left, *w.Ends, op.Not, strings.HasSuffix), nil
	case w.Low != nil:
		return b.between(left, w, op.Not)
	}
	return inList(left, w.In, op.Not)
}

// ordered is one of <, <=, > and >=. If the left side is absent the right one is not looked at, and may be what it wants.
func ordered(left, right term, o order) (term, error) {
	for _, t := range []*term{&left, &right} {
		if t.constant && !t.literal.isNumber() {
			return term{}, fmt.Errorf("a literal other than a number %w by order", errCompare)
		}
		if t.cond != nil {
			return term{}, fmt.Errorf("a condition %w by order", errCompare)
		}
	}
	x, y := left.value, right.value
	return conditionTerm(max(left.depth, right.depth), func(m *message) truth {
		a := x(m)
		if a.kind == null {
			return unknown
		}
		if a.kind == failed {
			return broken
		}
		b := y(m)
		if b.kind == null {
			return unknown
		}
		if b.kind == failed {
			return broken
		}
		return o.compare(a, b)
	}), nil
}

// between is >= AND <=, or < OR > with NOT. Only the first is checked for an order of its bounds.
func (b *builder) between(v term, w *wordTest, not bool) (term, error) {
	low, err := b.unary(w.Low)
	if err != nil {
		return term{}, err
	}
	high, err := b.unary(w.High)
	if err != nil {
		return term{}, err
	}
	from, to, decides := greaterOrEqual, lessOrEqual, no
	if not {
		from, to, decides = less, greater, yes
	}
	first, err := ordered(v, low, from)
	if err != nil {
		return term{}, err
	}
	second, err := ordered(v, high, to)
	if err != nil {
		return term{}, err
	}
	if !not && low.constant && high.constant {
		if c, _ := compare(&high.literal, &low.literal); c < 0 {
			return term{}, errors.New("the lower bound of BETWEEN is above the upper one")
		}
	}
	x, y := first.cond, second.cond
	return conditionTerm(max(first.depth, second.depth), func(m *message) truth {
		a := x(m)
		if a == decides || a == broken {
			return a
		}
		b := y(m)
		if b == decides || b == broken || a != unknown {
			return b
		}
		return unknown
	}), nil
}

// stringTest is CONTAINS, STARTSWITH or ENDSWITH. What is no text, or absent, fails the test with NOT and without, as does an empty
// argument.
func stringTest(left term, arg string, not bool, test func(s, arg string) bool) term {
	x := left.eval()
	return conditionTerm(left.depth, func(m *message) truth {
		if arg == "" {
			return no // Java does not even look at the left side
		}
		v := x(m)
		switch v.kind {
		case failed:
			return broken
		case text:
			return truthOf(test(v.s, arg) != not)
		}
		return no
	})
}

// shortList is how many elements of an IN are looked through one by one.
const shortList = 8

func inList(left term, list []string, not bool) (term, error) {
	p := left.property
	if p < 0 {
		return term{}, errors.New("IN needs a property on its left")
	}
	if len(list) <= shortList {
		return conditionTerm(left.depth, func(m *message) truth {
			if !m.props[p].there {
				return unknown
			}
			return truthOf(slices.Contains(list, m.props[p].value) != not)
		}), nil
	}
	set := make(map[string]struct{}, len(list))
	for _, s := range list {
		set[s] = struct{}{}
	}
	return conditionTerm(left.depth, func(m *message) truth {
		if !m.props[p].there {
			return unknown
		}
		_, in := set[m.props[p].value]
		return truthOf(in != not)
	}), nil
}

func (b *builder) unary(u *unary) (term, error) {
	switch {
	case u.Plus != nil: // is not there at all
		return b.unary(u.Plus)
	case u.Minus != nil:
		t, err := b.unary(u.Minus)
		if err != nil {
			return term{}, err
		}
		return deeper(negated(t), nil)
	case u.Not != nil:
		t, err := b.unary(u.Not)
		if err != nil {
			return term{}, err
		}
		c, err := t.asCondition()
		if err != nil {
			return term{}, err
		}
		return deeper(conditionTerm(t.depth, func(m *message) truth { return c(m).not() }), nil)
	}
	return b.primary(u.Primary)
}

// negated is a minus sign: absent for what is no number, which a property never is.
func negated(t term) term {
	x := t.eval()
	return term{property: -1, depth: t.depth + 1, value: func(m *message) value {
		v := x(m)
		switch v.kind {
		case integer:
			v.n = int64(int32(-v.n))
		case long:
			v.n = -v.n
		case double:
			v = doubleValue(-v.float())
		case failed:
		default:
			v = value{}
		}
		return v
	}}
}

func (b *builder) primary(p *primary) (term, error) {
	switch {
	case p.Group != nil:
		return b.disjunction(p.Group)
	case p.Property != nil:
		i := b.property(*p.Property)
		return term{property: i, depth: 1, value: func(m *message) value {
			if p := &m.props[i]; p.there {
				return value{kind: text, s: p.value}
			}
			return value{}
		}}, nil
	case p.String != nil:
		return constantTerm(value{kind: text, s: *p.String}), nil
	case p.Integer != nil:
		v, err := wholeLiteral(*p.Integer)
		return constantTerm(v), err
	case p.Float != nil:
		v, err := floatLiteral(*p.Float)
		return constantTerm(v), err
	case p.Null:
		return constantTerm(value{}), nil
	}
	return constantTerm(boolValue(p.True)), nil
}

// property is the index of a property by its name.
func (b *builder) property(name string) int {
	if i := slices.Index(b.names, name); i >= 0 {
		return i
	}
	if len(b.names) == maxProperties {
		b.many = true
		return 0
	}
	b.names = append(b.names, name)
	return len(b.names) - 1
}

// wholeLiteral is an Integer where it fits, else a Long.
func wholeLiteral(s string) (value, error) {
	n, err := strconv.ParseInt(strings.TrimRight(s, "lL"), 10, 64)
	if err != nil {
		return value{}, fmt.Errorf("%s is not a number of 64 bits", s)
	}
	if n <= math.MaxInt32 {
		return value{kind: integer, n: n}, nil
	}
	return value{kind: long, n: n}, nil
}

// floatLiteral is a Double within its positive range: 0.0 is none.
func floatLiteral(s string) (value, error) {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || f == 0 {
		return value{}, fmt.Errorf("%s is not between %g and %g", s, math.SmallestNonzeroFloat64, math.MaxFloat64)
	}
	return doubleValue(f), nil
}
