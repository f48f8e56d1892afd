package fastjson

// Pretty appends text, laid out as fastjson 2 does with PrettyFormat: a TAB for each level, a line for each member and element,
// nothing after a colon, no newline at the end. Lists of numbers stay on one line, as Java's primitive arrays do (which is what
// the configuration files hold). Text is what [Marshal] or [Normalize] wrote: compact, object and bare keys allowed.
func Pretty(dst, text []byte) []byte { return PrettyAt(dst, text, 0) }

// PrettyAt is Pretty for a value that stands at a level of a larger text.
func PrettyAt(dst, text []byte, level int) []byte {
	p := printer{dst: dst, text: text}
	p.value(level)
	return p.dst
}

type printer struct {
	dst, text []byte
	pos       int
}

func (p *printer) newline(level int) {
	p.dst = append(p.dst, '\n')
	for range level {
		p.dst = append(p.dst, '\t')
	}
}

func (p *printer) value(level int) {
	if p.pos >= len(p.text) {
		return
	}
	switch c := p.text[p.pos]; c {
	case '{':
		p.nest(level, '}', true)
	case '[':
		if end := skipNumbers(p.text, p.pos); end > 0 {
			p.dst = append(p.dst, p.text[p.pos:end]...)
			p.pos = end
			return
		}
		p.nest(level, ']', false)
	default:
		p.copyTo(skipValue(p.text, p.pos))
	}
}

func (p *printer) copyTo(end int) {
	p.dst = append(p.dst, p.text[p.pos:end]...)
	p.pos = end
}

// nest prints an object or a list.
func (p *printer) nest(level int, closing byte, keys bool) {
	p.copyTo(p.pos + 1)
	if p.pos < len(p.text) && p.text[p.pos] == closing {
		p.copyTo(p.pos + 1)
		return
	}
	for p.pos < len(p.text) {
		p.newline(level + 1)
		if keys {
			p.copyTo(skipValue(p.text, p.pos)) // object keys stay on one line
			if p.pos < len(p.text) && p.text[p.pos] == ':' {
				p.copyTo(p.pos + 1)
			}
		}
		p.value(level + 1)
		if p.pos >= len(p.text) || p.text[p.pos] != ',' {
			break
		}
		p.copyTo(p.pos + 1)
	}
	p.newline(level)
	p.copyTo(min(p.pos+1, len(p.text)))
}

// skipNumbers returns where the list that starts at pos ends if it holds numbers only, else 0.
func skipNumbers(text []byte, pos int) int {
	if pos+1 < len(text) && text[pos+1] == ']' {
		return pos + 2
	}
	for i := pos + 1; i < len(text); i++ {
		switch c := text[i]; {
		case c == ']':
			return i + 1
		case '0' <= c && c <= '9', c == '-', c == '+', c == '.', c == 'e', c == 'E', c == ',':
		default:
			return 0
		}
	}
	return 0
}

// skipValue returns where the value (or name) at pos ends. It trusts the text: brackets are counted, not matched.
func skipValue(text []byte, pos int) int {
	depth := 0
	for i := pos; i < len(text); i++ {
		switch text[i] {
		case '"':
			i = skipString(text, i) - 1
		case '{', '[':
			depth++
			continue
		case '}', ']':
			if depth == 0 {
				return i
			}
			depth--
		case ',', ':':
			if depth == 0 {
				return i
			}
			continue
		default:
			continue
		}
		// a string or a closing bracket has ended
		if depth == 0 {
			return i + 1
		}
	}
	return len(text)
}

// skipString returns where the string at pos ends.
func skipString(text []byte, pos int) int {
	for i := pos + 1; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(text)
}
