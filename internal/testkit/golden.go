package testkit

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// UnpackGolden unpacks a golden directory into dir, which then holds broker.conf and store; files stay sparse.
func UnpackGolden(name, dir string) error {
	path, err := Shared("golden", name+".tar.zst")
	if err != nil {
		return err
	}
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	unpacked, err := zstd.NewReader(file)
	if err != nil {
		return err
	}
	defer unpacked.Close()
	archive := tar.NewReader(unpacked)
	for {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("unpack %s: %w", name, err)
		}
		// Without the first folder, which has the archive's name.
		_, rel, _ := strings.Cut(filepath.Clean(h.Name), string(filepath.Separator))
		if !filepath.IsLocal(rel) && rel != "" {
			return fmt.Errorf("unpack %s: path %q leads out of the folder", name, h.Name)
		}
		to := filepath.Join(dir, rel)
		if h.Typeflag == tar.TypeDir {
			err = os.MkdirAll(to, 0o755)
		} else {
			err = unpackFile(archive, to, h)
		}
		if err != nil {
			return fmt.Errorf("unpack %s: %w", name, err)
		}
	}
}

func unpackFile(from io.Reader, to string, h *tar.Header) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	f, err := os.Create(to)
	if err != nil {
		return err
	}
	if err := errors.Join(copySparse(f, from, h.Size), f.Close()); err != nil {
		return err
	}
	return os.Chtimes(to, h.ModTime, h.ModTime)
}

// copySparse writes only blocks that hold something; the rest of a new file reads as zeros.
func copySparse(f *os.File, from io.Reader, size int64) error {
	var block, zero [64 << 10]byte
	for at := int64(0); ; {
		n, err := io.ReadFull(from, block[:])
		if n > 0 && !bytes.Equal(block[:n], zero[:n]) {
			if _, err := f.WriteAt(block[:n], at); err != nil {
				return err
			}
		}
		at += int64(n)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return f.Truncate(size)
		}
		if err != nil {
			return err
		}
	}
}

// GoldenConf are the settings that an unpacked golden directory was written with, without its ports, which are the reader's to choose.
func GoldenConf(dir string) (Props, error) {
	text, err := os.ReadFile(filepath.Join(dir, "broker.conf"))
	if err != nil {
		return nil, err
	}
	conf := Props{}
	for line := range strings.Lines(string(text)) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			conf[k] = v
		}
	}
	delete(conf, "listenPort")
	delete(conf, "haListenPort")
	return conf, nil
}

// TB is what a *testing.T can do here; this package is part of programs too.
type TB interface {
	Helper()
	TempDir() string
	Skipf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// Golden unpacks a golden directory for a test, which is skipped where there are none, and reads its manifest into one unless that is nil.
func Golden(t TB, name string, manifest any) (dir string) {
	t.Helper()
	dir = t.TempDir()
	err := UnpackGolden(name, dir)
	if errors.Is(err, ErrMissing) {
		t.Skipf("SKIPPED, nothing was done with what a Java broker left in %s: %v; it runs where the golden directories are, beside the repository or in APOGEE_SHARED", name, err)
	}
	if err == nil && manifest != nil {
		err = readManifest(name, manifest)
	}
	if err != nil {
		t.Fatalf("golden directory %s: %v", name, err)
	}
	return dir
}

func readManifest(name string, manifest any) error {
	path, err := Shared("golden", name+".json")
	if err != nil {
		return err
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, manifest)
}
