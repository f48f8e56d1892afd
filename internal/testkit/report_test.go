package testkit

import (
	"os"
	"path/filepath"
	"testing"
)

func TestDeliver(t *testing.T) {
	root := t.TempDir()
	t.Chdir(root)
	page := filepath.Join(root, "README.md")
	for path, text := range map[string]string{"go.mod": "module apogee\n", page: "a\n<!-- x:begin -->\nold\n<!-- x:end -->\nb\n"} {
		if err := os.WriteFile(path, []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	d := Delivery{Value: map[string]int{"n": 1}, JSON: filepath.Join(root, "out.json"), Text: "new\n", Section: "x"}
	for range 2 { // the second replaces what the first left
		if err := d.Deliver(); err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string]string{page: "a\n<!-- x:begin -->\nnew\n<!-- x:end -->\nb\n", d.JSON: "{\n \"n\": 1\n}\n"} {
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v, want %q", path, got, err, want)
		}
	}
	if info, err := os.Stat(page); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("the page's mode is %v, %v", info.Mode(), err)
	}
	files, err := os.ReadDir(root)
	if err != nil || len(files) != 3 {
		t.Errorf("left behind: %v, %v", files, err)
	}
}

func TestDeliverRefuses(t *testing.T) {
	root := t.TempDir()
	t.Chdir(root)
	const page = "<!-- x:end --><!-- x:begin -->"
	for path, text := range map[string]string{"go.mod": "module apogee\n", "README.md": page} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, d := range map[string]Delivery{
		"no marks":             {Section: "y"},
		"marks in wrong order": {Section: "x"},
		"no folder":            {JSON: filepath.Join(root, "none", "out.json")},
		"no JSON":              {Value: func() {}, JSON: filepath.Join(root, "out.json")},
	} {
		if err := d.Deliver(); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if got, err := os.ReadFile("README.md"); err != nil || string(got) != page {
		t.Errorf("the page is %q, %v", got, err)
	}
	files, err := os.ReadDir(root)
	if err != nil || len(files) != 2 {
		t.Errorf("left behind: %v, %v", files, err)
	}
}

func TestWhatIsNoFileIsNotReplaced(t *testing.T) {
	if err := (Delivery{Value: 1, JSON: os.DevNull}).Deliver(); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(os.DevNull); err != nil || info.Mode().IsRegular() {
		t.Errorf("%s is a file: %v, %v", os.DevNull, info, err)
	}
	dir := t.TempDir()
	file, link := filepath.Join(dir, "file"), filepath.Join(dir, "link")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	if err := (Delivery{Value: 1, JSON: link}).Deliver(); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != "1\n" {
		t.Errorf("behind the link stands %q, %v", got, err)
	}
	if to, err := os.Readlink(link); err != nil || to != file {
		t.Errorf("the link leads to %q, %v", to, err)
	}
}

func TestCommandLine(t *testing.T) {
	without := map[string]bool{"quiet": false, "json": true, "dir": true}
	for _, row := range []struct {
		want string
		args []string
	}{
		{"p", nil},
		{"p -quick -run send", []string{"-quick", "-json", "out", "--dir=/x", "-run", "send", "-quiet"}},
		{"p -run json", []string{"--quiet=true", "-run", "json"}},
		{"p", []string{"-json"}},
		{"p -run '^sync|the same 50 %' -x '' 'it'\\''s'", []string{"-run", "^sync|the same 50 %", "-x", "", "it's"}},
	} {
		if got := CommandLine("p", row.args, without); got != row.want {
			t.Errorf("%q: %q, want %q", row.args, got, row.want)
		}
	}
}
