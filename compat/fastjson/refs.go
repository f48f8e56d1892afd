package fastjson

import (
	"hash/maphash"
	"strconv"
)

// fastjson 1.2 writes {"$ref":path} for an object that the text has already: "$.a.b" and "$.a[0]" are paths from the root, ".." is
// the parent, "@" the object itself. The last two, and any path to an ancestor, describe a cycle; no bean has one, so they read as
// null, as does a path that leads nowhere.
//
// A first look collects the paths that are asked for; the walk over the text then notes where each of them is, and resolve copies. A
// path is carried as a hash of its steps, so that following it costs nothing that grows with its length.

const (
	rootPath    = uint64(0x9e3779b97f4a7c15)
	maxRefDepth = 16       // references within what a reference names
	refGrowth   = 4        // resolved text may be this many times the text ...
	refGrace    = 64 << 10 // ... and this much more
)

type refs struct {
	wanted map[uint64]span // by path; end is 0 until it was seen
	uses   []use
}

type span struct{ start, end int }

// use is a {"$ref":..} in the normalised text.
type use struct {
	span
	target uint64
}

var pathSeed = maphash.MakeSeed()

func childPath(path uint64, key []byte) uint64 {
	return (path ^ maphash.Bytes(pathSeed, key)) * 0x100000001b3
}

func indexPath(path uint64, i int) uint64 {
	var buf [24]byte
	return childPath(path, strconv.AppendInt(buf[:0], int64(i), 10))
}

// newRefs looks for the paths in src by their spelling. What looks like one inside a string does no harm.
func newRefs(src []byte) *refs {
	r := &refs{wanted: map[uint64]span{}}
	for i := 0; i+4 < len(src); i++ {
		if src[i] != '$' || string(src[i:i+4]) != "$ref" {
			continue
		}
		j := i + 4
		for j < len(src) && (src[j] == '"' || src[j] == '\'' || src[j] == ' ' || src[j] == ':') {
			j++
		}
		k := j
		for k < len(src) && src[k] != '"' && src[k] != '\'' {
			k++
		}
		if h, ok := hashPath(src[j:k]); ok {
			r.wanted[h] = span{}
		}
		i = k
	}
	return r
}

// hashPath reads "$.a.b[0]". fastjson escapes in a step what is no letter or digit (T1\\@CG in the JSON text); a dot or bracket
// inside a step is only told from a separator by that.
func hashPath(p []byte) (uint64, bool) {
	if len(p) == 0 || p[0] != '$' {
		return 0, false
	}
	h := rootPath
	var step []byte
	for i := 1; i < len(p); {
		switch p[i] {
		case '.', '[':
			i++
		default:
			return 0, false
		}
		step = step[:0]
		for i < len(p) && p[i] != '.' && p[i] != '[' && p[i] != ']' {
			if p[i] == '\\' {
				for i < len(p) && p[i] == '\\' {
					i++
				}
				if i == len(p) {
					return 0, false
				}
			}
			step = append(step, p[i])
			i++
		}
		if i < len(p) && p[i] == ']' {
			i++
		}
		h = childPath(h, step)
	}
	return h, true
}

// saw notes where the value at path is. The first place counts: a reference points back.
func (r *refs) saw(path uint64, start, end int) {
	if s, ok := r.wanted[path]; ok && s.end == 0 {
		r.wanted[path] = span{start, end}
	}
}

// maybeUse notes the object dst[start:] if it is a reference.
func (r *refs) maybeUse(dst []byte, start int) {
	const head = `{"$ref":"`
	o := dst[start:]
	if len(o) < len(head)+2 || string(o[:len(head)]) != head || string(o[len(o)-2:]) != `"}` {
		return
	}
	path := o[len(head) : len(o)-2]
	for i, c := range path {
		if c == '"' && (i == 0 || path[i-1] != '\\') {
			return // more than the one member
		}
	}
	h, _ := hashPath(path)
	r.uses = append(r.uses, use{span{start, len(dst)}, h})
}

// resolve returns text with every use replaced.
func (r *refs) resolve(text []byte, limit int) ([]byte, error) {
	if l := refGrowth*len(text) + refGrace; l < limit {
		limit = l
	}
	x := resolver{refs: r, text: text, limit: limit}
	if err := x.copy(0, len(text), 0); err != nil {
		return nil, err
	}
	return x.out, nil
}

type resolver struct {
	*refs
	text, out []byte
	limit     int
}

func (x *resolver) copy(from, to, depth int) error {
	for _, u := range x.within(from, to) {
		x.out = append(x.out, x.text[from:u.start]...)
		from = u.end
		t := x.wanted[u.target]
		cycle := t.start <= u.start && u.end <= t.end
		if t.end == 0 || cycle || depth == maxRefDepth {
			x.out = append(x.out, "null"...)
			continue
		}
		if err := x.copy(t.start, t.end, depth+1); err != nil {
			return err
		}
	}
	x.out = append(x.out, x.text[from:to]...)
	if len(x.out) > x.limit {
		return ErrTooLarge
	}
	return nil
}

// within returns the uses inside text[from:to]. They are noted in the order of their ends and never nest, so they are sorted.
func (x *resolver) within(from, to int) []use {
	lo, hi := lowerBound(x.uses, from), lowerBound(x.uses, to)
	return x.uses[lo:hi]
}

func lowerBound(uses []use, pos int) int {
	lo, hi := 0, len(uses)
	for lo < hi {
		if mid := (lo + hi) / 2; uses[mid].start < pos {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}
