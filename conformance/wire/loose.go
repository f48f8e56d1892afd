package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// Loose reads JSON as the reference writes it: keys of maps may be bare numbers ({0:"x"}) or objects ({{"a":1}:2}). Objects become
// map[string]any; a key that is an object becomes its JSON text with sorted keys. Numbers are json.Number.
func Loose(b []byte) (any, error) {
	p := &looseParser{b: b}
	v, err := p.value(0)
	if err != nil {
		return nil, fmt.Errorf("at byte %d of %.200q: %w", p.i, b, err)
	}
	if p.space(); p.i != len(p.b) {
		return nil, fmt.Errorf("%d bytes after the value", len(p.b)-p.i)
	}
	return v, nil
}

type looseParser struct {
	b []byte
	i int
}

func (p *looseParser) space() {
	for p.i < len(p.b) && strings.IndexByte(" \t\r\n", p.b[p.i]) >= 0 {
		p.i++
	}
}

func (p *looseParser) peek() byte {
	p.space()
	if p.i >= len(p.b) {
		return 0
	}
	return p.b[p.i]
}

var errLoose = errors.New("not JSON")

func (p *looseParser) value(depth int) (any, error) {
	if depth > 100 {
		return nil, errLoose
	}
	switch p.peek() {
	case '{':
		return p.object(depth)
	case '[':
		return p.array(depth)
	case '"':
		return p.str()
	case 0:
		return nil, errLoose
	}
	start := p.i
	for p.i < len(p.b) && strings.IndexByte(",:]} \t\r\n", p.b[p.i]) < 0 {
		p.i++
	}
	switch word := string(p.b[start:p.i]); word {
	case "true":
		return true, nil
	case "false":
		return false, nil
	case "null":
		return nil, nil
	case "":
		return nil, errLoose
	default:
		var n json.Number
		if err := json.Unmarshal([]byte(word), &n); err != nil {
			return nil, errLoose
		}
		return n, nil
	}
}

func (p *looseParser) str() (string, error) {
	end := p.i + 1
	for end < len(p.b) && p.b[end] != '"' {
		if p.b[end] == '\\' {
			end++
		}
		end++
	}
	if end >= len(p.b) {
		return "", errLoose
	}
	var s string
	err := json.Unmarshal(bytes.ReplaceAll(p.b[p.i:end+1], []byte("\t"), []byte(`\t`)), &s)
	p.i = end + 1
	return s, err
}

func (p *looseParser) array(depth int) (any, error) {
	p.i++
	out := []any{}
	for {
		switch p.peek() {
		case ']':
			p.i++
			return out, nil
		case ',':
			p.i++
			continue
		}
		v, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
}

func (p *looseParser) object(depth int) (any, error) {
	p.i++
	out := map[string]any{}
	for {
		switch p.peek() {
		case '}':
			p.i++
			return out, nil
		case ',':
			p.i++
			continue
		}
		k, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		if p.peek() != ':' {
			return nil, errLoose
		}
		p.i++
		v, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		switch key := k.(type) {
		case string:
			out[key] = v
		case json.Number:
			out[key.String()] = v
		default:
			b, err := json.Marshal(key)
			if err != nil {
				return nil, err
			}
			out[string(b)] = v
		}
	}
}

// At walks into a value that Loose read; nil if the path leads nowhere.
func At(v any, path ...string) any {
	for _, k := range path {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[k]
	}
	return v
}

// Num is a number that Loose read, as text; for comparing.
func Num(v any) string {
	if v == nil {
		return ""
	}
	return fmt.Sprint(v)
}
