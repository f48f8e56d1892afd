package filter

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// factProperties are those of the facts. Only in memory has a property an empty value: stored, it would not count.
var factProperties = map[string]string{
	"a": "3", "b": "hello", "t": "true", "T": "TRUE", "f": "false", "x": "3.0", "big": "9223372036854775807", "neg": "-5", "e": "",
	"q": "it's", "TAGS": "TagA", "n5": "05", "ds": "1e3", "xx": "abc",
}

// outcome is what an expression is for properties, in the words of facts.
func outcome(expression string, properties map[string]string) string {
	e, err := Compile(expression)
	if err != nil {
		return "refused"
	}
	m := &message{props: make([]property, len(e.names))}
	for i, name := range e.names {
		v, there := properties[name]
		m.props[i] = property{v, there}
	}
	return [...]string{unknown: "unknown", no: "false", yes: "true", broken: "error"}[e.cond(m)]
}

func TestFacts(t *testing.T) {
	for _, f := range facts {
		if got := outcome(f.expression, factProperties); got != f.want {
			t.Errorf("%s: %s, want %s", f.expression, got, f.want)
		}
	}
}

// TestQuirks holds what follows from the classes of Java and is not among the facts.
func TestQuirks(t *testing.T) {
	for expression, want := range map[string]string{
		"":                 "refused",
		"   ":              "refused",
		"a":                "false",
		"3":                "refused",
		"'x'":              "refused",
		"-a":               "refused",
		"(a)":              "false",
		"+a IN ('3')":      "true",
		"(a) IN ('3')":     "true",
		"-a IN ('3')":      "refused",
		"NOT a IN ('3')":   "refused",
		"NOT (a IN ('3'))": "false",
		"a IN ('1','2','3','4','5','6','7','8','9')":  "true",
		"xx NOT IN ('1','2','3','4','5','6','7','8')": "true",
		"zz IN ('1','2','3','4','5','6','7','8','9')": "unknown",
		"a IN ('3') IN ('x')":                         "refused",
		"a IN ()":                                     "refused",
		"a IN ('3',)":                                 "refused",
		"a NOT":                                       "refused",
		"a = 3 NOT b":                                 "refused",
		"a = 3 b":                                     "true",
		"a = 3 (":                                     "true",
		"a = 3 )":                                     "true",
		"a = 3 , # \"":                                "true",
		"a = 3 #":                                     "refused",
		"a = 3 'x":                                    "refused",
		"a = '3''":                                    "refused",
		"a = '3' 'x":                                  "refused",
		"q = 'it''s' AND b = 'hello'":                 "true",
		"a = 3 --":                                    "true",
		"a = 3 -- \n AND b = 'x'":                     "false",
		"a = 3 -- \r AND b = 'x'":                     "false",
		"a = 3 /* x * ** / */ AND b = 'x'":            "false",
		"a = 3 /* x":                                  "refused",
		"a = 3 /**/":                                  "true",
		"a = 3 /*/":                                   "refused",
		"a=3AND b='hello'":                            "true",
		"a = 3L":                                      "true",
		"a = 0L":                                      "false",
		"a = 3 . 5":                                   "refused",
		"a = 3.5.5":                                   "false",
		"a = 3..5":                                    "true",
		"a = .":                                       "refused",
		"a = 3e":                                      "true",
		"a = 3e+":                                     "true",
		"a < 1e3":                                     "true",
		"a < 1E+3":                                    "true",
		"a > 1e-3":                                    "true",
		"a < 1e308":                                   "true",
		"a < 1e309":                                   "refused",
		"a > 1e-400":                                  "refused",
		"a > 012.5":                                   "false",
		"a.b = 3":                                     "refused",
		"a-b = 3":                                     "false",
		"a = b":                                       "false",
		"a < b":                                       "error",
		"a < neg":                                     "false",
		"a > neg":                                     "true",
		"a = x":                                       "false",
		"a <= x AND a >= x":                           "true",
		"ds > a":                                      "true",
		"a > zz":                                      "unknown",
		"zz > x":                                      "unknown",
		"zz = yy":                                     "true",
		"zz <> yy":                                    "false",
		"a = zz":                                      "false",
		"a <> zz":                                     "true",
		"zz = a":                                      "unknown",
		"TRUE = t":                                    "error",
		"TRUE = zz":                                   "false",
		"TRUE = 3":                                    "refused",
		"TRUE = 'true'":                               "refused",
		"'true' = TRUE":                               "true",
		"3 = TRUE":                                    "false",
		"3 <> TRUE":                                   "true",
		"TRUE = TRUE":                                 "true",
		"TRUE <> FALSE":                               "true",
		"TRUE = (a = 3)":                              "true",
		"(a = 3) = t":                                 "error",
		"t = (a = 3)":                                 "true",
		"(a = 3) = (b = 'x')":                         "false",
		"(a = 3) = 3":                                 "false",
		"a = b > 3":                                   "error",
		"a = NULL":                                    "refused",
		"NULL = NULL":                                 "refused",
		"NULL IS NULL":                                "true",
		"3 IS NULL":                                   "false",
		"-a IS NULL":                                  "true",
		"NOT a IS NULL":                               "false",
		"NOT zz IS NULL":                              "true",
		"(zz = 1) IS NULL":                            "true",
		"zz = 1 IS NULL":                              "true",
		"zz IS NULL IS NULL":                          "false",
		"zz IS NULL = TRUE":                           "true",
		"a IS":                                        "refused",
		"a IS NOT":                                    "refused",
		"a IS 3":                                      "refused",
		"x = 3 OR a = 3":                              "error",
		"a = 3 OR x = 3":                              "true",
		"a = 4 AND x = 3":                             "false",
		"x = 3 AND a = 4":                             "error",
		"zz = 1 AND x = 3":                            "error",
		"zz = 1 OR x = 3":                             "error",
		"x = 3 IS NULL":                               "error",
		"NOT (x = 3)":                                 "error",
		"3 AND a = 3":                                 "refused",
		"a = 3 OR 'x'":                                "refused",
		"a = 3 AND b":                                 "false",
		"a = 3 AND zz":                                "unknown",
		"zz OR a = 3":                                 "true",
		"NULL AND a = 4":                              "false",
		"FALSE OR NULL":                               "unknown",
		"a > 2 > 1":                                   "refused",
		"a > NOT b":                                   "refused",
		"a > (b = 3)":                                 "refused",
		"a > TRUE":                                    "refused",
		"a > NULL":                                    "refused",
		"a > -(x = 3)":                                "error",
		"zz > -(x = 3)":                               "unknown",
		"a > -b":                                      "unknown",
		"neg = -5":                                    "true",
		"neg = - - 5":                                 "false",
		"a = - - 3":                                   "true",
		"neg < -4.5":                                  "true",
		"big > -9223372036854775807":                  "true",
		"a BETWEEN -1 AND 5":                          "true",
		"a BETWEEN 5 AND -1":                          "false",
		"3 BETWEEN 1 AND 5":                           "true",
		"3 NOT BETWEEN 1 AND 5":                       "false",
		"'3' BETWEEN 1 AND 5":                         "refused",
		"a BETWEEN 1 AND NULL":                        "refused",
		"a BETWEEN zz AND 2":                          "false",
		"a BETWEEN zz AND 5":                          "unknown",
		"a NOT BETWEEN zz AND 2":                      "true",
		"zz BETWEEN 1 AND 5":                          "unknown",
		"x BETWEEN 1 AND 5":                           "error",
		"a BETWEEN 4 AND x":                           "false",
		"a BETWEEN 1.5 AND 5":                         "true",
		"a BETWEEN 5 AND 1.5":                         "refused",
		"a BETWEEN 1 AND 5 AND b = 'hello'":           "true",
		"a BETWEEN (1) AND (5)":                       "true",
		"a BETWEEN (5) AND (1)":                       "refused",
		"a BETWEEN 1":                                 "refused",
		"b CONTAINS 'h' CONTAINS 'h'":                 "false",
		"NOT b CONTAINS 'h'":                          "false",
		"(b CONTAINS 'h') AND TRUE":                   "true",
		"'hello' CONTAINS 'ell'":                      "true",
		"zz CONTAINS ''":                              "false",
		"b NOT STARTSWITH ''":                         "false",
		"(x = 3) CONTAINS ''":                         "false",
		"(x = 3) CONTAINS 'y'":                        "error",
		"b contains 'ell' and b endswith 'lo'":        "true",
		"b StartsWith 'he'":                           "true",
		"t = true":                                    "true",
		"2147483648 > a":                              "error?", // see below
	} {
		if want == "error?" {
			want = "true" // a Long on the left: the text is read as one
		}
		if got := outcome(expression, factProperties); got != want {
			t.Errorf("%s: %s, want %s", expression, got, want)
		}
	}
}

func TestDepthAndLengthAreBounded(t *testing.T) {
	rep := strings.Repeat
	for name, c := range map[string]struct{ expression, want string }{
		"parentheses":               {rep("(", 400) + "a = 3" + rep(")", 400), "true"},
		"too many parentheses":      {rep("(", 1000) + "a = 3" + rep(")", 1000), "refused"},
		"parentheses without end":   {rep("(", MaxLength), "refused"},
		"NOT":                       {rep("NOT ", 400) + "(a = 3)", "true"},
		"too many NOT":              {rep("NOT ", 5000) + "(a = 3)", "refused"},
		"signs":                     {"a = " + rep("-", 400) + "3", "true"},
		"too many signs":            {"a = " + rep("-", 5000) + "3", "refused"},
		"plus signs":                {"a = " + rep("+", 400) + "3", "true"},
		"signs and parentheses":     {rep("NOT (", 400) + "a = 3" + rep(")", 400), "refused"},
		"IS NULL":                   {"a" + rep(" IS NULL", 400), "false"},
		"too many IS NULL":          {"a" + rep(" IS NULL", 3000), "refused"},
		"CONTAINS":                  {"a" + rep(" CONTAINS 'x'", 2000), "refused"},
		"=":                         {"a = 3" + rep(" = TRUE", 3000), "refused"},
		"OR":                        {"a = 4" + rep(" OR a = 4", 3000) + " OR a = 3", "true"},
		"AND":                       {"a = 3" + rep(" AND a = 3", 3000), "true"},
		"nesting side by side":      {"a = 4" + rep(" OR ((((a = 4))))", 1500) + " OR a = 3", "true"},
		"junk that nests":           {"a = 3 " + rep("(", 5000), "true"},
		"length":                    {"a = 3" + rep(" ", MaxLength-5), "true"},
		"too long":                  {"a = 3" + rep(" ", MaxLength-4), "refused"},
		"line comments without end": {"a = 3 " + rep("--1", MaxLength/3-10), "true"},
		"list":                      {"a IN ('x'" + rep(",'x'", 7000) + ",'3')", "true"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := outcome(c.expression, factProperties); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
	var many strings.Builder
	for i := range maxProperties + 1 {
		fmt.Fprintf(&many, "p%d = 1 OR ", i)
	}
	if got := outcome(many.String()+"TRUE", nil); got != "refused" {
		t.Errorf("%d properties: %s", maxProperties+1, got)
	}
}

func TestMatchReadsStoredProperties(t *testing.T) {
	e, err := Compile("a = '3' AND b IS NULL")
	if err != nil {
		t.Fatal(err)
	}
	for props, want := range map[string]bool{
		"a\x013\x02":                   true,
		"a\x013":                       true,
		"a\x014\x02a\x013\x02":         true, // the last one counts
		"a\x013\x02a\x014\x02":         false,
		"a\x013\x02b\x01\x02":          true, // an empty value is none
		"a\x013\x02b\x01x\x02":         false,
		"aa\x013\x02":                  false,
		"\x013\x02a\x013\x02":          true,
		"a\x02a\x013\x02\x02":          true,
		"a\x013\x01\x02":               false, // the second separator belongs to the value
		"":                             false,
		"KEYS\x01k\x02a\x013\x02c\x01": true,
	} {
		if got := e.Match([]byte(props)); got != want {
			t.Errorf("%q: %v, want %v", props, got, want)
		}
	}
}

func TestWholeNumbers(t *testing.T) {
	for s, want := range map[string]string{
		"0": "0", "-0": "0", "+5": "5", "05": "5", "2147483647": "2147483647", "2147483648": "-", "-2147483648": "-2147483648",
		"-2147483649": "-", "": "-", "+": "-", "-": "-", "+-5": "-", " 5": "-", "5 ": "-", "5.0": "-", "1e3": "-", "0x1": "-", "1_0": "-",
		"５": "5", "-٣٤": "-34", "𝟗": "-", "é": "-", "99999999999999999999999": "-",
	} {
		n, ok := parseWhole(s, 32)
		if got := fmt.Sprint(n); ok && got != want || ok != (want != "-") {
			t.Errorf("%q: %s %v, want %s", s, got, ok, want)
		}
	}
	for s, want := range map[string]bool{
		"9223372036854775807": true, "9223372036854775808": false, "-9223372036854775808": true, "-9223372036854775809": false,
		"18446744073709551616": false, "18446744073709551617": false,
	} {
		if _, ok := parseWhole(s, 64); ok != want {
			t.Errorf("%q: %v, want %v", s, ok, want)
		}
	}
	for _, block := range unicode.Nd.R16 {
		if block.Stride != 1 || (block.Hi-block.Lo+1)%10 != 0 {
			t.Errorf("digits %x..%x are no rows of tens", block.Lo, block.Hi)
		}
	}
}

func TestDoubles(t *testing.T) {
	inf, nan := math.Inf(1), math.NaN()
	for s, want := range map[string]float64{
		"1": 1, "1.": 1, ".5": .5, "1e3": 1000, "1E+3": 1000, "+1.5": 1.5, "-1.5": -1.5, " 1 ": 1, "\t1\n": 1, "1f": 1, "1D": 1, "1.5e1F": 15,
		"NaN": nan, "-NaN": nan, "Infinity": inf, "-Infinity": -inf, "+Infinity": inf, "1e400": inf, "-1e400": -inf, "1e-400": 0,
		"0x1p3": 8, "0X1.8P1": 3, "0x.8p1d": 1, "0x1.p0": 1, "1e99999999999999999999": inf, "0e99999999999999999999": 0,
	} {
		got, ok := parseDouble(s)
		if !ok || got != want && !(math.IsNaN(got) && math.IsNaN(want)) {
			t.Errorf("%q: %v %v, want %v", s, got, ok, want)
		}
	}
	for _, s := range []string{
		"", " ", ".", "+", "e5", "1e", "1e+", "1ee5", "inf", "nan", "infinity", "1_000", "0x1", "0x1.8", "0xp1", "0x", "1 2", "1ff", "１", "--1",
		"NaNf", "1.5.5", "0x1p", "\u00a01",
	} {
		if got, ok := parseDouble(s); ok {
			t.Errorf("%q is read as %v", s, got)
		}
	}
	ordered := []float64{-inf, -1, math.Copysign(0, -1), 0, 1, inf, nan}
	for i, a := range ordered {
		for j, b := range ordered {
			if got, want := compareDoubles(a, b), min(max(i-j, -1), 1); got != want {
				t.Errorf("%v to %v: %d, want %d", a, b, got, want)
			}
		}
	}
}

func TestCache(t *testing.T) {
	var c Cache
	if c.Has(SQL92, "a = 1") {
		t.Error("an empty cache has something")
	}
	first, err := c.Compile(SQL92, "a = 1")
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := c.Compile(SQL92, "a = 1"); again != first || !c.Has(SQL92, "a = 1") {
		t.Error("compiled twice")
	}
	for range 2 {
		if _, err := c.Compile(SQL92, "a >"); err == nil || !c.Has(SQL92, "a >") {
			t.Error("the error is not kept")
		}
	}
	for _, kind := range []string{"", "TAG", "sql92", "XPATH"} {
		if _, err := c.Compile(kind, "a = 1"); err == nil || !c.Has(kind, "a = 1") {
			t.Errorf("%q is a kind of expressions", kind)
		}
	}
	if _, err := c.Compile(SQL92, "TRUE"+strings.Repeat(" ", MaxLength)); err == nil || c.text > 100 {
		t.Errorf("too long: %v, %d bytes kept", err, c.text)
	}
	for i := range 1500 {
		_, _ = c.Compile(SQL92, fmt.Sprintf("TRUE %d %s", i, strings.Repeat(" ", i)))
		if len(c.m) > cacheEntries || c.text > cacheText {
			t.Fatalf("%d entries with %d bytes", len(c.m), c.text)
		}
	}
}

// TestBloomPositions compares with what Java wrote.
func TestBloomPositions(t *testing.T) {
	b, err := NewBloom(20, 32)
	if err != nil || b.Bits() != 112 {
		t.Fatalf("%d bits, %v", b.Bits(), err)
	}
	for name, want := range map[string][]int32{"SqlGroup_s11#Props_s11": {50, 15, 51}, "SqlGroup2_s11#Props_s11": {24, 59, 94}} {
		if got := b.Positions(name); !slices.Equal(got, want) || !b.Fits(112, got) {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	for _, c := range [][2]int{{0, 32}, {100, 32}, {20, 0}, {20, 1 << 30}} {
		if _, err := NewBloom(c[0], c[1]); err == nil {
			t.Errorf("%v: no error", c)
		}
	}
}

// busyProperties are those of a usual message.
const busyProperties = "UNIQ_KEY\x01AC1100015F7018B4AAC27A1E4F2A0000\x02CLUSTER\x01DefaultCluster\x02TRACE_ON\x01true\x02MSG_REGION\x01DefaultRegion\x02" +
	"WAIT\x01true\x02a\x013\x02city\x01北京\x02price\x0117.5\x02vip\x01true\x02TAGS\x01TagA\x02KEYS\x01order-4711\x02"

const busyExpression = "a > 2 AND (city = '上海' OR price BETWEEN 3.5 AND 20.5) AND vip IS NOT NULL AND KEYS STARTSWITH 'order' AND TAGS IN ('TagA','TagB')"

func TestMatchDoesNotAllocate(t *testing.T) {
	for _, expression := range []string{
		busyExpression, "a = 3", "price = 3", "a IN ('1','2','3','4','5','6','7','8','9')", "NOT (a < price)", "vip = TRUE OR zz", "-a IS NULL",
	} {
		e, err := Compile(expression)
		if err != nil {
			t.Fatal(err)
		}
		props := []byte(busyProperties)
		if n := testing.AllocsPerRun(1000, func() { e.Match(props) }); n != 0 {
			t.Errorf("%s: %v allocations", expression, n)
		}
	}
}

func BenchmarkMatch(b *testing.B) {
	for name, expression := range map[string]string{"one": "a > 2", "five": busyExpression, "list": "TAGS IN ('A','B','C','D','E','F','G','H','TagA')"} {
		b.Run(name, func(b *testing.B) {
			e, err := Compile(expression)
			if err != nil {
				b.Fatal(err)
			}
			props := []byte(busyProperties)
			b.ReportAllocs()
			for b.Loop() {
				if !e.Match(props) {
					b.Fatal("no match")
				}
			}
		})
	}
}

func BenchmarkCompile(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Compile(busyExpression); err != nil {
			b.Fatal(err)
		}
	}
}

func FuzzCompile(f *testing.F) {
	for _, fact := range facts {
		f.Add(fact.expression, "a\x013\x02b\x01hello\x02t\x01true\x02")
	}
	f.Add(strings.Repeat("(", 600)+"a", "")
	f.Fuzz(func(t *testing.T, expression, properties string) {
		e, err := Compile(expression)
		if err != nil {
			return
		}
		got := e.Match([]byte(properties))
		if got != e.Match([]byte(properties)) {
			t.Errorf("%q for %q: once true, once not", expression, properties)
		}
		// What is in parentheses is the same. (Not so if it is a prefix only.)
		if not, err := Compile("NOT (" + expression + "\n)"); err == nil && got && not.Match([]byte(properties)) {
			t.Errorf("%q for %q: true, and not", expression, properties)
		}
	})
}
