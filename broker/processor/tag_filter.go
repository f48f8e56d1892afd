package processor

import (
	"slices"
	"strings"
	"sync"

	"apogee/store"
	"apogee/store/record"
)

// tagFilter passes queue entries whose tags code is one of a few; the client compares the tags themselves (spec: behaviour.md 5.6).
type tagFilter struct{ codes []int32 }

// MatchTags compares with the low half of the entry's code, as Java does.
func (f *tagFilter) MatchTags(tagsCode int64) bool { return slices.Contains(f.codes, int32(tagsCode)) }

// MatchRecord takes all: the entry has said it.
func (f *tagFilter) MatchRecord([]byte) bool { return true }

// parseTags reads "a || b"; nil takes everything (FilterAPI.buildSubscriptionData).
func parseTags(expression string) *tagFilter {
	if expression == "" || expression == "*" {
		return nil
	}
	f := new(tagFilter)
	for tag := range strings.SplitSeq(expression, "||") {
		if tag = strings.TrimSpace(tag); tag != "" {
			f.codes = append(f.codes, record.HashString(tag))
		}
	}
	return f
}

// maxFilters bounds the memory for filters: more expressions than that are not at work at a time, except where a client makes them up.
const maxFilters = 4096

// tagFilters keeps the filters of expressions, so that a pull builds none.
type tagFilters struct {
	mu sync.RWMutex // guards m
	m  map[string]*tagFilter
}

// filter is the filter of an expression as the store wants it: nil, and not an interface that holds nil, takes everything.
func (t *tagFilters) filter(expression string) store.Filter {
	if f := t.get(expression); f != nil {
		return f
	}
	return nil
}

// get finds or builds the filter of an expression; nil takes everything. It keeps nothing of the expression.
func (t *tagFilters) get(expression string) *tagFilter {
	if expression == "" || expression == "*" {
		return nil
	}
	t.mu.RLock()
	f := t.m[expression]
	t.mu.RUnlock()
	if f != nil {
		return f
	}
	f = parseTags(expression)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.m == nil || len(t.m) >= maxFilters {
		t.m = make(map[string]*tagFilter)
	}
	t.m[strings.Clone(expression)] = f
	return f
}
