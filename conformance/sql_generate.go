package conformance

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// sqlGenerator makes expressions and properties that meet: names and values come from the same small stocks.
type sqlGenerator struct{ r *rand.Rand }

var (
	sqlNames = []string{"a", "a", "b", "b", "c", "d", "e", "t", "zz", "$n", "_x", "A", "TAGS", "KEYS", "MSG_REGION", "WAIT"}
	// sqlValues are those of properties: what reads as a number, nearly does, or does not.
	sqlValues = []string{
		"0", "1", "2", "3", "3", "5", "-5", "+7", "05", "-0", "2147483647", "2147483648", "-2147483648", "-2147483649", "9223372036854775807",
		"9223372036854775808", "3.0", "2.5", "-2.5", "1e3", "1E-3", ".5", "5.", " 4 ", "NaN", "Infinity", "-Infinity", "0x1p3", "0x10", "1f", "2d", "3L",
		"1e400", "-1e400", "1e-400", "0.0", "-0.0", "true", "TRUE", "tRuE", "false", "yes", "hello", "Hello", "hell", "o", "it's", "北京", "京", "３", "٣",
		"x y", "''", "%", "null", "NULL", "1_000", "1,5", "--1", "+", "é", "TagA", "k1 k2",
	}
	sqlIntegers = []string{
		"0", "1", "2", "3", "3", "4", "5", "7", "8", "10", "100", "1000", "3L", "5l", "2147483647", "2147483648", "9223372036854775807", "9223372036854775808",
		"99999999999999999999", "03", "00", "0L",
	}
	sqlFloats = []string{
		"2.5", "3.0", "3.", ".5", "1e3", "1E3", "1e-3", "0.0", "0.1", "1e308", "1e309", "1e-400", "4.9e-324", "5.e1", "8.0", "1000.0", "05.5", "9223372036854775807.0",
	}
	sqlTexts = []string{
		"'hello'", "'Hello'", "'ell'", "'he'", "'lo'", "'o'", "''", "'3'", "'3.0'", "'true'", "'TRUE'", "'it''s'", "'北京'", "'京'", "''''", "'x y'", "'%'",
		"'TagA'", "'DefaultRegion'", "'a\\nb'", "'\"'", "'é'", "'-5'", "'NaN'",
	}
	sqlJunk = []string{
		"LIKE 'he%'", "b", "3", "'x'", "+ 1", "* 2", "; b", "!= 3", "== 3", "(", ")", ",", "#", "\"", "-- end", "-- end\n", "/* c */", "/* c", "NOT", "IS", "IN",
		"AND", "= ", "<", "1.5.5", "'x", "a.b", "&& b", "||", "%", "\\", "ESCAPE 'x'", "é", "\x00", "\u00a0", "?", "@", "1e", "..", ".",
	}
	sqlWords = []string{
		"a", "b", "zz", "t", "3", "'x'", "'hello'", "2.5", "TRUE", "FALSE", "NULL", "=", "<>", "<", "<=", ">", ">=", "(", ")", ",", "+", "-", "NOT", "AND", "OR", "IS",
		"IN", "BETWEEN", "CONTAINS", "STARTSWITH", "ENDSWITH",
	}
)

func (g *sqlGenerator) of(s []string) string { return s[g.r.IntN(len(s))] }

func (g *sqlGenerator) once(in int) bool { return g.r.IntN(in) == 0 }

// properties are name, value, ... of one message.
func (g *sqlGenerator) properties() []string {
	var out []string
	for _, name := range []string{"a", "b", "c", "d", "e", "t", "$n", "_x", "A", "TAGS", "KEYS"} {
		switch {
		case g.once(4):
		case name == "t":
			out = append(out, name, g.of([]string{"true", "TRUE", "false", "yes"}))
		case name == "a" && !g.once(3):
			out = append(out, name, fmt.Sprint(g.r.IntN(12)-2))
		default:
			out = append(out, name, g.of(sqlValues))
		}
	}
	return out
}

// expression is one that a user may have written, or a broken one, or a heap of words.
func (g *sqlGenerator) expression() string {
	switch g.r.IntN(12) {
	case 0:
		var words []string
		for range 1 + g.r.IntN(8) {
			words = append(words, g.of(sqlWords))
		}
		return strings.Join(words, " ")
	case 1:
		return g.or(2) + " " + g.of(sqlJunk)
	case 2: // something is left out, or twice there
		words := strings.Fields(g.or(2))
		i := g.r.IntN(len(words))
		if g.once(2) {
			words = append(words[:i:i], words[i+1:]...)
		} else {
			words = append(words[:i:i], append([]string{g.of(sqlWords)}, words[i:]...)...)
		}
		return strings.Join(words, " ")
	case 3:
		return strings.ReplaceAll(g.or(2), " ", g.of([]string{"\t", "\n", "\r\n", "  ", "/**/ ", " -- x\n", " /* ' */ "}))
	case 4:
		return strings.ToLower(g.or(2))
	}
	return g.or(3)
}

func (g *sqlGenerator) or(depth int) string {
	s := g.and(depth)
	for g.once(3) {
		s += " OR " + g.and(depth)
	}
	return s
}

func (g *sqlGenerator) and(depth int) string {
	s := g.test(depth)
	for g.once(3) {
		s += " AND " + g.test(depth)
	}
	return s
}

// test is a condition, as a rule.
func (g *sqlGenerator) test(depth int) string {
	if depth > 0 && g.once(5) {
		return g.of([]string{"", "NOT ", "NOT NOT ", "+", "-"}) + "(" + g.or(depth-1) + ")"
	}
	not := ""
	if g.once(3) {
		not = "NOT "
	}
	switch g.r.IntN(10) {
	case 0, 1:
		return g.operand(depth) + g.of([]string{" = ", " <> "}) + g.operand(depth)
	case 2:
		return g.of(sqlNames) + g.of([]string{" = ", " <> ", "="}) + g.literal()
	case 3:
		return g.of(sqlNames) + g.of([]string{" < ", " <= ", " > ", " >= ", ">"}) + g.of([]string{g.of(sqlIntegers), g.of(sqlFloats), "-" + g.of(sqlIntegers), g.of(sqlNames)})
	case 4:
		return g.operand(depth) + g.of([]string{" < ", " <= ", " > ", " >= "}) + g.operand(depth)
	case 5:
		return g.operand(depth) + g.of([]string{" IS NULL", " IS NOT NULL"})
	case 6:
		bound := func() string {
			return g.of([]string{g.of(sqlIntegers[:12]), g.of(sqlIntegers[:12]), g.of(sqlFloats), "-" + g.of(sqlIntegers), g.operand(depth)})
		}
		return g.operand(depth) + " " + not + "BETWEEN " + bound() + " AND " + bound()
	case 7:
		var list []string
		for range 1 + g.r.IntN(12) {
			list = append(list, g.of(sqlTexts))
		}
		return g.of([]string{g.of(sqlNames), g.of(sqlNames), g.operand(depth)}) + " " + not + "IN (" + strings.Join(list, ",") + ")"
	case 8:
		return g.of([]string{g.of(sqlNames), g.of(sqlNames), g.operand(depth)}) + " " + not + g.of([]string{"CONTAINS ", "STARTSWITH ", "ENDSWITH "}) + g.of(sqlTexts)
	}
	return g.operand(depth)
}

func (g *sqlGenerator) literal() string {
	return g.of([]string{g.of(sqlIntegers), g.of(sqlFloats), g.of(sqlTexts), g.of(sqlTexts), "TRUE", "FALSE", "-" + g.of(sqlIntegers), "NULL"})
}

func (g *sqlGenerator) operand(depth int) string {
	switch {
	case g.once(8):
		return g.of([]string{"-", "+", "NOT ", "- -"}) + g.of(sqlNames)
	case g.once(6):
		return g.literal()
	case depth > 0 && g.once(6):
		return "(" + g.or(depth-1) + ")"
	}
	return g.of(sqlNames)
}
