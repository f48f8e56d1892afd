package filter

import (
	"fmt"
	"strings"
	"sync"
)

// Bounds of a cache: more expressions than that are not at work at a time, except where a client makes them up.
const (
	cacheEntries = 1024
	cacheText    = 1 << 20 // bytes of all texts
)

// Cache keeps compiled expressions, and what was wrong with those that could not be compiled, by their text. The zero value is empty.
type Cache struct {
	mu   sync.RWMutex // guards all below
	m    map[string]compiled
	text int
}

type compiled struct {
	expression *Expression
	err        error
}

// SQL92 is the only kind of expressions that is compiled, by its name in subscriptions (ExpressionType).
const SQL92 = "SQL92"

// Has tells whether an expression has been compiled, or refused, before: Compile answers at once then.
func (c *Cache) Has(kind, text string) bool {
	if kind != SQL92 || len(text) > MaxLength {
		return true
	}
	_, _, ok := c.get(text)
	return ok
}

// get allocates nothing and keeps nothing of the text.
func (c *Cache) get(text string) (e *Expression, err error, ok bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	got, ok := c.m[text]
	return got.expression, got.err, ok
}

// Compile finds an expression, or compiles and keeps it. It keeps nothing of the text's memory.
func (c *Cache) Compile(kind, text string) (*Expression, error) {
	if kind != SQL92 {
		return nil, fmt.Errorf("there are no filter expressions of type %q", kind)
	}
	if e, err, ok := c.get(text); ok {
		return e, err
	}
	e, err := Compile(text)
	if len(text) > MaxLength {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, there := c.m[text]; there {
		return e, err
	}
	if c.m == nil || len(c.m) >= cacheEntries || c.text+len(text) > cacheText {
		c.m, c.text = make(map[string]compiled), 0
	}
	c.m[strings.Clone(text)] = compiled{e, err}
	c.text += len(text)
	return e, err
}
