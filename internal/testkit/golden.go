package testkit

import (
	"archive/tar"
	"bytes"
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
