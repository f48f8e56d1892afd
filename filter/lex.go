package filter

import (
	"errors"
	"io"
	"strings"

	"github.com/alecthomas/participle/v2/lexer"
)

// Kinds of tokens. invalid stands where the text cannot be read on; it is the last one, and only an error if the parser gets there.
const (
	tokenInvalid lexer.TokenType = iota + 1
	tokenIdent
	tokenString
	tokenInteger
	tokenFloat
	tokenEq
	tokenNe
	tokenGt
	tokenGe
	tokenLt
	tokenLe
	tokenOpen
	tokenClose
	tokenComma
	tokenPlus
	tokenMinus
	tokenNot
	tokenAnd
	tokenOr
	tokenBetween
	tokenIn
	tokenTrue
	tokenFalse
	tokenNull
	tokenIs
	tokenContains
	tokenStartsWith
	tokenEndsWith
)

// symbols are the names that the grammar uses.
var symbols = map[string]lexer.TokenType{
	"EOF": lexer.EOF, "Invalid": tokenInvalid, "Ident": tokenIdent, "String": tokenString, "Integer": tokenInteger, "Float": tokenFloat,
	"Eq": tokenEq, "Ne": tokenNe, "Gt": tokenGt, "Ge": tokenGe, "Lt": tokenLt, "Le": tokenLe,
	"Open": tokenOpen, "Close": tokenClose, "Comma": tokenComma, "Plus": tokenPlus, "Minus": tokenMinus,
	"Not": tokenNot, "And": tokenAnd, "Or": tokenOr, "Between": tokenBetween, "In": tokenIn, "True": tokenTrue, "False": tokenFalse,
	"Null": tokenNull, "Is": tokenIs, "Contains": tokenContains, "StartsWith": tokenStartsWith, "EndsWith": tokenEndsWith,
}

// keyword is the kind of a word, in whatever case it is written.
func keyword(word string) lexer.TokenType {
	if len(word) < len("OR") || len(word) > len("STARTSWITH") {
		return tokenIdent
	}
	switch strings.ToUpper(word) {
	case "NOT":
		return tokenNot
	case "AND":
		return tokenAnd
	case "OR":
		return tokenOr
	case "BETWEEN":
		return tokenBetween
	case "IN":
		return tokenIn
	case "TRUE":
		return tokenTrue
	case "FALSE":
		return tokenFalse
	case "NULL":
		return tokenNull
	case "IS":
		return tokenIs
	case "CONTAINS":
		return tokenContains
	case "STARTSWITH":
		return tokenStartsWith
	case "ENDSWITH":
		return tokenEndsWith
	}
	return tokenIdent
}

// definition makes scanners for the parser.
type definition struct{}

func (definition) Symbols() map[string]lexer.TokenType { return symbols }

func (definition) Lex(string, io.Reader) (lexer.Lexer, error) {
	return nil, errors.New("filter: expressions are strings")
}

func (definition) LexString(_, text string) (lexer.Lexer, error) {
	return &scanner{text: text, lastBreak: strings.LastIndexAny(text, "\r\n")}, nil
}

// scanner cuts an expression into tokens, the longest that fits each time (the token rules of SelectorParser.jj). It ends the text where
// nothing fits, and where the nesting becomes too deep for the parser, which goes down with it.
type scanner struct {
	text      string
	lastBreak int // where the last line ends
	at        int
	over      bool
	depth     int   // of what is open
	open      []int // what each open parenthesis has added to it
	run       int   // signs and NOTs directly before this place
}

// Next is the next token; behind the last one it is EOF for ever.
func (s *scanner) Next() (lexer.Token, error) {
	s.skip()
	pos := lexer.Position{Offset: s.at, Line: 1, Column: s.at + 1}
	if s.over || s.at == len(s.text) {
		return lexer.EOFToken(pos), nil
	}
	kind, size := s.match()
	if kind == tokenInvalid || !s.nest(kind) {
		s.over = true
		return lexer.Token{Type: tokenInvalid, Value: s.text[s.at:], Pos: pos}, nil
	}
	value := s.text[s.at : s.at+size]
	s.at += size
	if kind == tokenString {
		value = strings.ReplaceAll(value[1:len(value)-1], "''", "'")
	}
	return lexer.Token{Type: kind, Value: value, Pos: pos}, nil
}

// nest keeps account of the nesting; false if it gets too deep.
func (s *scanner) nest(kind lexer.TokenType) bool {
	switch kind {
	case tokenPlus, tokenMinus, tokenNot:
		s.run++
	case tokenOpen:
		s.open = append(s.open, s.run+1)
		s.depth += s.run + 1
		s.run = 0
	case tokenClose:
		if n := len(s.open); n > 0 {
			s.depth -= s.open[n-1]
			s.open = s.open[:n-1]
		}
		s.run = 0
	default:
		s.run = 0
	}
	return s.depth+s.run <= maxDepth
}

// skip goes over blanks and comments. A line comment needs the end of its line: without one it is two minus signs.
func (s *scanner) skip() {
	for s.at < len(s.text) {
		rest := s.text[s.at:]
		switch {
		case strings.IndexByte(" \t\n\r\f", rest[0]) >= 0:
			s.at++
		case strings.HasPrefix(rest, "--") && s.at < s.lastBreak:
			s.at += strings.IndexAny(rest, "\r\n")
		case strings.HasPrefix(rest, "/*") && strings.Contains(rest[2:], "*/"):
			s.at += 2 + strings.Index(rest[2:], "*/") + 2
		default:
			return
		}
	}
}

// match is the token that starts here. The caller knows that there is something.
func (s *scanner) match() (lexer.TokenType, int) {
	rest := s.text[s.at:]
	switch c := rest[0]; {
	case isLetter(c):
		n := 1
		for n < len(rest) && (isLetter(rest[n]) || isDigit(rest[n])) {
			n++
		}
		return keyword(rest[:n]), n
	case isDigit(c) || c == '.':
		return matchNumber(rest)
	case c == '\'':
		return matchString(rest)
	}
	return matchSign(rest)
}

func matchSign(rest string) (lexer.TokenType, int) {
	two := func(c byte) bool { return len(rest) > 1 && rest[1] == c }
	switch rest[0] {
	case '=':
		return tokenEq, 1
	case '<':
		if two('>') {
			return tokenNe, 2
		}
		if two('=') {
			return tokenLe, 2
		}
		return tokenLt, 1
	case '>':
		if two('=') {
			return tokenGe, 2
		}
		return tokenGt, 1
	case '(':
		return tokenOpen, 1
	case ')':
		return tokenClose, 1
	case ',':
		return tokenComma, 1
	case '+':
		return tokenPlus, 1
	case '-':
		return tokenMinus, 1
	}
	return tokenInvalid, 0
}

// matchString takes '...' with doubled quotes. If the closing quote is missing, the last pair of quotes is what closes it and begins
// another one: the longest match that is one.
func matchString(rest string) (lexer.TokenType, int) {
	last := 0
	for i := 1; i < len(rest); i++ {
		if rest[i] != '\'' {
			continue
		}
		last = i + 1
		if i+1 == len(rest) || rest[i+1] != '\'' {
			return tokenString, last
		}
		i++
	}
	if last == 0 {
		return tokenInvalid, 0
	}
	return tokenString, last
}

// matchNumber takes the longest of a whole number (0, or without leading zeros and perhaps with an L) and a decimal one.
func matchNumber(rest string) (lexer.TokenType, int) {
	whole := digits(rest)
	n := whole
	if n < len(rest) && rest[n] == '.' {
		if f := digits(rest[n+1:]); whole > 0 || f > 0 {
			n += 1 + f
		}
	}
	if n == 0 {
		return tokenInvalid, 0
	}
	if e := exponent(rest[n:]); e > 0 || n > whole {
		return tokenFloat, n + e
	}
	if rest[0] == '0' {
		return tokenInteger, 1
	}
	if n < len(rest) && rest[n]|0x20 == 'l' {
		n++
	}
	return tokenInteger, n
}

// exponent is the length of E, a sign perhaps, and digits.
func exponent(s string) int {
	if s == "" || s[0]|0x20 != 'e' {
		return 0
	}
	n := 1
	if n < len(s) && (s[n] == '+' || s[n] == '-') {
		n++
	}
	d := digits(s[n:])
	if d == 0 {
		return 0
	}
	return n + d
}

func digits(s string) int {
	n := 0
	for n < len(s) && isDigit(s[n]) {
		n++
	}
	return n
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' || c == '_' || c == '$' }
