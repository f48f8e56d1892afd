// Package lint holds the rules of this repository that no other tool knows, as tests: who may import whom, which calls belong to
// which folder, how long a file may be, and that no path of somebody's machine is in the tree. Read rules.go for the rules, run
// go test ./internal/lint to check them.
package lint
