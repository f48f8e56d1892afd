package processor

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// notServed are the codes that a Java broker answers and this one does not (yet): it answers 3.
var notServed = map[string]string{
	"SwitchTimerEngine":           "RocksDB timeline",
	"UpdateAndCreateStaticTopic":  "static topics",
	"CheckRocksDBCQWriteProgress": "RocksDB queues",
	"ExportRocksDBConfigToJSON":   "RocksDB configuration",
	"NotifyBrokerRoleChanged":     "controller mode",
	"UpdateColdDataFlowCtrConfig": "cold data flow control",
	"RemoveColdDataFlowCtrConfig": "cold data flow control",
	"GetColdDataFlowCtrInfo":      "cold data flow control",
	"SetCommitLogReadMode":        "it tunes Java's mapped files",
	"PopRollback":                 "POP",
}

// brokerCodes reads package code: names and numbers of the requests that a broker handles, by the comment beside each.
func brokerCodes(t *testing.T) map[string]int32 {
	t.Helper()
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, "../../remoting/code/code.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	out := make(map[string]int32)
	for _, d := range f.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.CONST || !strings.HasPrefix(g.Doc.Text(), "Request codes") {
			continue
		}
		for _, s := range g.Specs {
			v := s.(*ast.ValueSpec)
			if by := strings.TrimSpace(v.Comment.Text()); !strings.HasPrefix(by, "broker") {
				continue
			}
			n, err := strconv.Atoi(v.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			out[v.Names[0].Name] = int32(n)
		}
	}
	if len(out) < 80 {
		t.Fatalf("only %d codes found", len(out))
	}
	return out
}

func TestEveryCodeIsServedOrListed(t *testing.T) {
	served := make(map[int32]bool)
	for _, r := range table {
		served[r.code] = true
	}
	known := brokerCodes(t)
	for name, n := range known {
		why, listed := notServed[name]
		later := strings.HasPrefix(name, "Auth") || strings.Contains(name, "Lite") && !served[n] // users and ACLs; lite topics
		if served[n] == (listed || later) {
			t.Errorf("%s (%d): served %v, listed as missing %q", name, n, served[n], why)
		}
	}
	for name := range notServed {
		if _, ok := known[name]; !ok {
			t.Errorf("%s is listed as missing but is no code of a broker", name)
		}
	}
}

func TestTableIsSorted(t *testing.T) {
	if !slices.IsSortedFunc(table, func(a, b route) int { return int(a.code - b.code) }) {
		t.Error("rows are not in the order of their codes")
	}
	for i := 1; i < len(table); i++ {
		if table[i].code == table[i-1].code {
			t.Errorf("two rows for %d", table[i].code)
		}
	}
}
