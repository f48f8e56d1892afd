package lint

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const root = "../.."

// below tells whether path is folder or lies in it.
func below(path, folder string) bool { return path == folder || strings.HasPrefix(path, folder+"/") }

func anyBelow(path string, folders []string) bool {
	return slices.ContainsFunc(folders, func(f string) bool { return below(path, f) })
}

// ours cuts the module off an import path; the rest is the folder.
func ours(importPath string) (folder string, ok bool) {
	return strings.CutPrefix(importPath, module+"/")
}

type listedPackage struct {
	ImportPath   string
	Imports      []string
	TestImports  []string
	XTestImports []string
}

func listPackages(t *testing.T) []listedPackage {
	t.Helper()
	cmd := exec.Command("go", "list", "-e", "-json=ImportPath,Imports,TestImports,XTestImports", "./...")
	cmd.Dir = root
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.Bytes())
	}
	var list []listedPackage
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listedPackage
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return list
		} else if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
}

// importFault says what is wrong with from importing to, "" if nothing is. Both are folders.
func importFault(from, to string, inTest bool) string {
	for _, never := range neverImported {
		if below(to, never) && !below(from, never) {
			return "nothing imports " + never
		}
	}
	if inTest || below(to, from) || anyBelow(to, importedByAll) {
		return ""
	}
	best := -1
	for i, r := range importRules {
		if below(from, r.folder) && (best < 0 || len(r.folder) > len(importRules[best].folder)) {
			best = i
		}
	}
	if best < 0 || anyBelow(to, importRules[best].may) {
		return ""
	}
	return fmt.Sprintf("%s may import %v", importRules[best].folder, importRules[best].may)
}

func TestImports(t *testing.T) {
	packages := listPackages(t)
	if len(packages) < 5 {
		t.Fatalf("go list found %d packages", len(packages))
	}
	for _, p := range packages {
		from, ok := ours(p.ImportPath)
		if !ok {
			continue
		}
		check := func(imports []string, inTest bool) {
			for _, i := range imports {
				to, ok := ours(i)
				if !ok {
					continue
				}
				if fault := importFault(from, to, inTest); fault != "" {
					t.Errorf("%s imports %s: %s", from, to, fault)
				}
			}
		}
		check(p.Imports, false)
		check(p.TestImports, true)
		check(p.XTestImports, true)
	}
}

func TestImportRulesCatch(t *testing.T) {
	for _, tc := range []struct {
		from, to string
		inTest   bool
		allowed  bool
	}{
		{"store", "remoting", false, false},
		{"store/record", "store/vfs", false, false},
		{"store", "store/record", false, true},
		{"remoting", "broker", false, false},
		{"remoting", "remoting/header", false, true},
		{"namesrv", "broker/meta", false, false},
		{"broker", "namesrv", false, false},
		{"broker/processor", "store", false, true},
		{"broker", "conformance", false, false},
		{"broker", "conformance", true, false},
		{"store", "internal/testkit", true, true},
		{"cmd/apogee", "namesrv", false, true},
		{"storeroom", "remoting", false, true},
	} {
		if got := importFault(tc.from, tc.to, tc.inTest); (got == "") != tc.allowed {
			t.Errorf("%s -> %s (test %v): %q", tc.from, tc.to, tc.inTest, got)
		}
	}
}

// sources calls f for each file of the tree that is kept, with its path below root.
func sources(t *testing.T, f func(path string, text []byte)) {
	t.Helper()
	skip := []string{".git", ".run", "bin/.build", "apogee-data"} // not kept in the repository

	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, path)
		rel = filepath.ToSlash(rel)
		if d.IsDir() {
			if slices.Contains(skip, rel) || d.Name() == "testdata" {
				return filepath.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() || rel == ".git" { // in a second work tree it is a file
			return nil
		}
		text, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			f(rel, text)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestForbiddenCalls(t *testing.T) {
	used := make(map[string]bool)
	sources(t, func(path string, text []byte) {
		if !strings.HasSuffix(path, ".go") {
			return
		}
		for _, c := range forbiddenCalls(t, path, text) {
			key := path + " " + c.name
			if _, ok := exceptions[key]; ok {
				used[key] = true
				continue
			}
			t.Errorf("%s:%d: %s: %s", path, c.line, c.name, c.why)
		}
	})
	for key := range exceptions {
		if !used[key] {
			t.Errorf("the exception for %q is not needed any more", key)
		}
	}
}

type foundCall struct {
	name, why string
	line      int
}

func forbiddenCalls(t *testing.T, path string, text []byte) []foundCall {
	t.Helper()
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, path, text, parser.SkipObjectResolution)
	if err != nil {
		t.Errorf("%s: %v", path, err)
		return nil
	}
	names := make(map[string]string) // what an imported package is called here
	for _, i := range file.Imports {
		p, _ := strconv.Unquote(i.Path.Value)
		name := p[strings.LastIndexByte(p, '/')+1:]
		if i.Name != nil {
			name = i.Name.Name
		}
		names[name] = p
	}
	isTest := strings.HasSuffix(path, "_test.go")
	_, bubble := names["synctest"] // there time stands still until everybody waits, so a sleep is exact
	var found []foundCall
	ast.Inspect(file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		sel, ok := call.Fun.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		x, ok := sel.X.(*ast.Ident)
		if !ok {
			return true
		}
		for _, r := range callRules {
			if names[x.Name] != r.pkg || isTest && (!r.tests || bubble) || anyBelow(path, r.homes) || !matches(r.names, sel.Sel.Name) {
				continue
			}
			found = append(found, foundCall{x.Name + "." + sel.Sel.Name, r.why, fset.Position(call.Pos()).Line})
		}
		return true
	})
	return found
}

func matches(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		prefix, open := strings.CutSuffix(p, "*")
		return open && strings.HasPrefix(name, prefix) || p == name
	})
}

func TestForbiddenCallsAreFound(t *testing.T) {
	const text = `package p
import ( "fmt"; clock "time"; "os" )
var now = clock.Now
func f() { clock.Now(); clock.Sleep(1); os.OpenFile("", 0, 0); fmt.Println(); fmt.Sprint() }
`
	for path, want := range map[string]string{
		"store/a.go":      "clock.Now clock.Sleep os.OpenFile fmt.Println",
		"store/vfs/a.go":  "clock.Now clock.Sleep fmt.Println",
		"store/a_test.go": "clock.Sleep",
		"cmd/apogee/a.go": "",
	} {
		var got []string
		for _, c := range forbiddenCalls(t, path, []byte(text)) {
			got = append(got, c.name)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: found %v, want %s", path, got, want)
		}
	}
}

func TestFileLength(t *testing.T) {
	sources(t, func(path string, text []byte) {
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_gen.go") {
			return
		}
		lines := bytes.Count(text, []byte("\n"))
		if lines <= maxLines {
			return
		}
		if why, ok := longFiles[path]; ok {
			t.Logf("%s has %d lines: %s", path, lines, why)
			return
		}
		t.Errorf("%s has %d lines, the limit is %d; split it by what is done to the thing", path, lines, maxLines)
	})
}

func TestNoMachinePaths(t *testing.T) {
	sources(t, func(path string, text []byte) {
		if bytes.IndexByte(text, 0) >= 0 {
			return
		}
		for _, p := range machinePaths {
			if i := bytes.Index(text, []byte(p)); i >= 0 {
				t.Errorf("%s:%d: path of a machine: %s", path, 1+bytes.Count(text[:i], []byte("\n")), p)
			}
		}
	})
}

// TestSettingsAreRead finds fields of configuration structs that a file can set and no code reads: a setting would have no effect,
// and nobody would say so. A key like that belongs into keys.tsv with its reason, and not into a struct.
func TestSettingsAreRead(t *testing.T) {
	declared := make(map[string]string) // field to place
	read := make(map[string]bool)
	sources(t, func(path string, text []byte) {
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return
		}
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, path, text, parser.SkipObjectResolution)
		if err != nil {
			return // TestForbiddenCalls reports it
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.SelectorExpr:
				read[n.Sel.Name] = true
			case *ast.Field:
				if n.Tag == nil {
					return true
				}
				tag, _ := strconv.Unquote(n.Tag.Value)
				if key := reflect.StructTag(tag).Get("prop"); key != "" && key != "-" {
					for _, name := range n.Names {
						declared[name.Name] = fmt.Sprintf("%s:%d: %s (%s)", path, fset.Position(n.Pos()).Line, name.Name, key)
					}
				}
			}
			return true
		})
	})
	for name, at := range declared {
		if !read[name] && unreadSettings[name] == "" {
			t.Errorf("%s is never read", at)
		}
	}
	for name := range unreadSettings {
		if declared[name] == "" || read[name] {
			t.Errorf("%s is not an unread setting any more", name)
		}
	}
}

var link = regexp.MustCompile(`\]\(([^)#\s]+)[^)]*\)`)

// TestLinksOfDocuments finds links of Markdown files to files that are not there.
func TestLinksOfDocuments(t *testing.T) {
	sources(t, func(path string, text []byte) {
		if !strings.HasSuffix(path, ".md") {
			return
		}
		for _, m := range link.FindAllSubmatchIndex(text, -1) {
			target := string(text[m[2]:m[3]])
			if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			if _, err := os.Stat(filepath.Join(root, filepath.Dir(path), target)); err != nil {
				t.Errorf("%s:%d: %s is not there", path, 1+bytes.Count(text[:m[0]], []byte("\n")), target)
			}
		}
	})
}

// TestNoticeNamesEveryModule compares NOTICE with what the released binary links.
func TestNoticeNamesEveryModule(t *testing.T) {
	cmd := exec.Command("go", "list", "-deps", "-tags", "urfave_cli_no_docs", "-f", "{{with .Module}}{{.Path}}{{end}}", "./cmd/apogee")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	notice, err := os.ReadFile(filepath.Join(root, "NOTICE"))
	if err != nil {
		t.Fatal(err)
	}
	listed := strings.Fields(string(notice))
	linked := strings.Fields(string(out))
	slices.Sort(linked)
	for _, m := range slices.Compact(linked) {
		if m != module && !slices.Contains(listed, m) {
			t.Errorf("NOTICE lacks %s", m)
		}
	}
}
