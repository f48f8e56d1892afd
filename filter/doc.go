// Package filter compiles the SQL92 expressions of subscriptions and decides with them which messages a consumer gets.
//
// An expression is parsed once, by a participle grammar over a lexer of our own, checked as Java checks it, and turned into a tree of
// closures. [Expression.Match] runs that over the property text of a stored record (name 0x01 value 0x02, repeated) and allocates nothing.
//
// What counts as an expression, and what it means, is what Java's SelectorParser and its expression classes do (spec: behaviour.md 17),
// quirks included: a valid prefix is enough, NOT binds tighter than a comparison, LIKE is no operator, and a property that does not
// read as the number that it is compared with fails the whole evaluation. Three values are known, true, false and unknown; a message is
// delivered for true only.
//
// The way through it: lex.go, grammar.go, build.go (checks and closures), value.go (comparisons), number.go (Java's reading of numbers).
package filter
