package testkit

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Delivery is what a run of some suite leaves in files.
type Delivery struct {
	Value   any    // written as JSON
	JSON    string // the file for it; "" for none
	Text    string // put into README.md
	Section string // the name of the marks it goes between, as in <!-- bench:begin -->; "" for none
}

// Deliver writes the files. Each is replaced at once: who reads one while a run ends, or after a run that was interrupted, sees the old
// or the new.
func (d Delivery) Deliver() error {
	if d.JSON != "" {
		b, err := json.MarshalIndent(d.Value, "", " ")
		if err != nil {
			return fmt.Errorf("results for %s: %w", d.JSON, err)
		}
		if err := replaceFile(d.JSON, append(b, '\n')); err != nil {
			return err
		}
	}
	if d.Section == "" {
		return nil
	}
	root, err := Root()
	if err != nil {
		return err
	}
	return putIntoFile(filepath.Join(root, "README.md"), d.Section, d.Text)
}

// Earlier reads what an earlier run has delivered into a file of JSON. Where there is none, value stays as it is.
func Earlier(path string, value any) error {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = json.Unmarshal(text, value)
	}
	if err != nil {
		return fmt.Errorf("results %s: %w", path, err)
	}
	return nil
}

func putIntoFile(path, section, text string) error {
	old, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	next, err := between(string(old), section, text)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return replaceFile(path, []byte(next))
}

// between is page with what stands between the marks of the section replaced.
func between(page, section, text string) (string, error) {
	begin, end := "<!-- "+section+":begin -->", "<!-- "+section+":end -->"
	before, rest, ok := strings.Cut(page, begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		return "", fmt.Errorf("there are no marks %s and %s", begin, end)
	}
	return before + begin + "\n" + text + end + after, nil
}

// replaceFile writes to a temporary name and renames. What is no ordinary file, as /dev/stdout, is written to as it is: it must not be
// replaced by one.
func replaceFile(path string, data []byte) error {
	mode := os.FileMode(0o644)
	if old, err := os.Stat(path); err == nil {
		if !old.Mode().IsRegular() {
			return os.WriteFile(path, data, mode)
		}
		mode = old.Mode().Perm()
		if path, err = filepath.EvalSymlinks(path); err != nil {
			return err
		}
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.tmp")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(mode), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// CommandLine is what was run, for a report to quote: without the flags named, which only say where its results went. The value true
// stands for a flag that is followed by a value.
func CommandLine(program string, args []string, without map[string]bool) string {
	said := []string{program}
	for i := 0; i < len(args); i++ {
		name, _, inline := strings.Cut(strings.TrimLeft(args[i], "-"), "=")
		valued, known := without[name]
		switch {
		case !known || !strings.HasPrefix(args[i], "-"):
			said = append(said, quoted(args[i]))
		case valued && !inline:
			i++
		}
	}
	return strings.Join(said, " ")
}

// quoted is an argument as a shell takes it.
func quoted(arg string) string {
	plain := func(r rune) bool {
		return r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' || strings.ContainsRune("-_=.,:/@%+", r)
	}
	if arg != "" && strings.IndexFunc(arg, func(r rune) bool { return !plain(r) }) < 0 {
		return arg
	}
	return "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
}

// Commit names the state of the sources, if git is there to tell.
func Commit() string {
	out, err := exec.Command("git", "rev-parse", "--short=12", "HEAD").Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}
