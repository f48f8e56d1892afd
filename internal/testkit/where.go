package testkit

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

// ErrMissing says that something outside the repository which a check needs is not there; the check is then skipped, loudly.
var ErrMissing = errors.New("not available here")

// Root is the folder of go.mod, looked for upwards from the working directory.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if text, err := os.ReadFile(filepath.Join(dir, "go.mod")); err == nil && strings.HasPrefix(string(text), "module apogee\n") {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", fmt.Errorf("no go.mod of module apogee above the working directory: %w", ErrMissing)
		}
		dir = up
	}
}

// Shared is a file or folder of the shared material, which stands beside the repository unless APOGEE_SHARED says where.
func Shared(elem ...string) (string, error) {
	base := os.Getenv("APOGEE_SHARED")
	if base == "" {
		root, err := Root()
		if err != nil {
			return "", err
		}
		base = filepath.Join(filepath.Dir(root), "shared")
	}
	path := filepath.Join(append([]string{base}, elem...)...)
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("%s: %w", filepath.Join(append([]string{"shared"}, elem...)...), ErrMissing)
	}
	return path, nil
}

var build struct {
	once sync.Once
	path string
	err  error
}

// Binary is the apogee binary: APOGEE_BIN if set, else built once for this process.
func Binary() (string, error) {
	if path := os.Getenv("APOGEE_BIN"); path != "" {
		return path, nil
	}
	build.once.Do(func() {
		root, err := Root()
		if err != nil {
			build.err = err
			return
		}
		dir := filepath.Join(os.TempDir(), fmt.Sprintf("apogee-bin-%d", os.Getuid()))
		if build.err = os.MkdirAll(dir, 0o700); build.err != nil {
			return
		}
		// A name of this process: other builds of the same tree may run at the same time.
		build.path = filepath.Join(dir, fmt.Sprintf("apogee-%d", os.Getpid()))
		cmd := exec.Command("go", "build", "-o", build.path, "./cmd/apogee")
		cmd.Dir = root
		if out, err := cmd.CombinedOutput(); err != nil {
			build.err = fmt.Errorf("build ./cmd/apogee: %w\n%s", err, out)
		}
	})
	return build.path, build.err
}

// RemoveBuilt deletes what Binary and [Java.Classes] have made; for TestMain and the end of a run.
func RemoveBuilt() {
	if build.path != "" {
		_ = os.Remove(build.path)
	}
	built.Lock()
	defer built.Unlock()
	for _, dir := range built.classes {
		_ = os.RemoveAll(filepath.Dir(dir))
	}
}
