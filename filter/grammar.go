package filter

import (
	"sync"

	"github.com/alecthomas/participle/v2"
	"github.com/alecthomas/participle/v2/lexer"
)

// The grammar of SelectorParser.jj, loosest operators first. Names in tags are those of symbols.

type disjunction struct {
	Terms []*conjunction `parser:"@@ ( Or @@ )*"`
}

type conjunction struct {
	Terms []*equality `parser:"@@ ( And @@ )*"`
}

type equality struct {
	Left *comparison   `parser:"@@"`
	Ops  []*equalityOp `parser:"@@*"`
}

type equalityOp struct {
	Equal   *comparison `parser:"  Eq @@"`
	Unequal *comparison `parser:"| Ne @@"`
	Is      *nullTest   `parser:"| Is @@"`
}

type nullTest struct {
	Not  bool   `parser:"@Not?"`
	Null string `parser:"@Null"`
}

type comparison struct {
	Left *unary          `parser:"@@"`
	Ops  []*comparisonOp `parser:"@@*"`
}

type comparisonOp struct {
	Sign  string    `parser:"  @( Gt | Ge | Lt | Le )"`
	Right *unary    `parser:"  @@"`
	Not   bool      `parser:"| @Not?"`
	Word  *wordTest `parser:"  @@"`
}

type wordTest struct {
	Contains *string  `parser:"  Contains @String"`
	Starts   *string  `parser:"| StartsWith @String"`
	Ends     *string  `parser:"| EndsWith @String"`
	Low      *unary   `parser:"| Between @@"`
	High     *unary   `parser:"  And @@"`
	In       []string `parser:"| In Open @String ( Comma @String )* Close"`
}

type unary struct {
	Plus    *unary   `parser:"  Plus @@"`
	Minus   *unary   `parser:"| Minus @@"`
	Not     *unary   `parser:"| Not @@"`
	Primary *primary `parser:"| @@"`
}

type primary struct {
	String   *string      `parser:"  @String"`
	Integer  *string      `parser:"| @Integer"`
	Float    *string      `parser:"| @Float"`
	True     bool         `parser:"| @True"`
	False    bool         `parser:"| @False"`
	Null     bool         `parser:"| @Null"`
	Property *string      `parser:"| @Ident"`
	Group    *disjunction `parser:"| Open @@ Close"`
}

// parser is built when the first expression comes: most brokers never see one. Java's parser never takes back a token that it has
// taken, hence the lookahead of 0.
var parser = sync.OnceValue(func() *participle.Parser[disjunction] {
	return participle.MustBuild[disjunction](participle.Lexer(definition{}), participle.UseLookahead(0))
})

// parse reads an expression. What follows it does not matter, unless the very next token cannot be read (Java has looked at it by then).
func parse(text string) (*disjunction, error) {
	p := parser()
	lex, err := definition{}.LexString("", text)
	if err != nil {
		return nil, err
	}
	tokens, err := lexer.Upgrade(lex)
	if err != nil {
		return nil, err
	}
	tree, err := p.ParseFromLexer(tokens, participle.AllowTrailing(true))
	if err != nil {
		return nil, err
	}
	if next := tokens.Peek(); next.Type == tokenInvalid {
		return nil, &participle.UnexpectedTokenError{Unexpected: *next}
	}
	return tree, nil
}
