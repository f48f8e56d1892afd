package namesrv

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"apogee/compat/properties"
	"apogee/store/vfs"
)

// defaultConfig is what an empty file gives, on a port that the kernel chooses.
func defaultConfig(t testing.TB) Config {
	t.Helper()
	var cfg Config
	if _, err := properties.Bind(properties.New("test"), &cfg); err != nil {
		t.Fatal(err)
	}
	cfg.BindAddress, cfg.ListenPort = "127.0.0.1", 0
	cfg.FillPaths("/data")
	return cfg
}

// startServer starts a server, changed as the test wants it.
func startServer(t testing.TB, change func(*Config, *Deps)) *Server {
	t.Helper()
	cfg := defaultConfig(t)
	deps := Deps{FS: vfs.NewMem(time.Now), Now: time.Now, Log: slog.New(slog.DiscardHandler)}
	if change != nil {
		change(&cfg, &deps)
	}
	s, err := New(cfg, deps)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), testDeadline)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	})
	return s
}
