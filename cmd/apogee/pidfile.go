package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// pidFile leaves a file in APOGEE_RUN_DIR that tells mqshutdown which process runs; remove takes it away. Without that variable
// nothing is written. Failing to write it is no reason not to serve.
func pidFile(kind string, log *slog.Logger) (remove func()) {
	dir := os.Getenv("APOGEE_RUN_DIR")
	if dir == "" {
		return func() {}
	}
	dropStale(dir)
	path := filepath.Join(dir, fmt.Sprintf("%s.%d.pid", kind, os.Getpid()))
	err := os.MkdirAll(dir, 0o755)
	if err == nil {
		err = os.WriteFile(path, fmt.Appendf(nil, "%d\n", os.Getpid()), 0o644)
	}
	if err != nil {
		log.Warn("mqshutdown will not find this process", "err", err)
		return func() {}
	}
	return func() { _ = os.Remove(path) }
}

// dropStale removes the files of processes that were killed: their numbers will be given to others.
func dropStale(dir string) {
	files, _ := filepath.Glob(filepath.Join(dir, "*.*.pid"))
	for _, path := range files {
		name := strings.TrimSuffix(filepath.Base(path), ".pid")
		pid, err := strconv.Atoi(name[strings.LastIndexByte(name, '.')+1:])
		if err == nil && pid > 0 && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			_ = os.Remove(path)
		}
	}
}
