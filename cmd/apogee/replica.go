package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"apogee/ha"
	"apogee/store"
)

func replicaCommand() *cli.Command {
	return &cli.Command{
		Name: "replica", Usage: "look after the copy that a slave keeps of its master's log",
		Subcommands: []*cli.Command{{
			Name: "rebuild", Usage: "copy a master's log to a slave that is not running",
			Description: "The slave's configuration says where its store is. An Apogee master sends the whole log, a Java master its last file.\n" +
				"A store that has a log already goes on where it ends; with --full what it has is put aside and all is copied anew.\n\n" +
				"Example:\n" +
				"  apogee replica rebuild -c slave.conf --master 10.0.0.1:10912 --full --limit 50MB/s",
			Flags: []cli.Flag{
				&cli.StringFlag{Name: "configFile", Aliases: []string{"c"}, Usage: "the slave's `FILE` of properties", Required: true},
				&cli.StringFlag{Name: "master", Usage: "the master's brokerIP2 and haListenPort, `HOST:PORT`; haMasterAddress where the file has it"},
				&cli.BoolFlag{Name: "full", Usage: "begin anew; what is there goes to STORE/replaced-TIME"},
				&cli.StringFlag{Name: "limit", Usage: "bytes a second at most, such as `50MB/s`"},
			},
			Action: rebuildReplica,
		}},
	}
}

// replaced are the parts of a store that follow its log.
var replaced = []string{"commitlog", "consumequeue", "batchconsumequeue", "index", "compaction", "checkpoint", "abort"}

func rebuildReplica(c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	limit, err := parseRate(c.String("limit"))
	if err != nil {
		return exit(exitFailure, fmt.Errorf("--limit: %w", err))
	}
	file, err := readSettings(c, os.LookupEnv)
	if err != nil {
		return exit(exitFailure, err)
	}
	b, _, err := bindBroker(file, c.String("configFile"))
	if err != nil {
		return err
	}
	master := c.String("master")
	if master == "" {
		master = b.conf.HAMaster
	}
	if b.conf.Role != store.Slave || master == "" {
		return exit(exitFailure, errors.New("a slave's configuration (brokerRole=SLAVE) and its master's address (--master, haMasterAddress) are needed"))
	}
	log := slog.New(slog.NewTextHandler(c.App.ErrWriter, nil))
	if c.Bool("full") {
		if err := putAside(&b.opts, log); err != nil {
			return exit(exitFailure, err)
		}
	}
	ctx, stop := signal.NotifyContext(c.Context, os.Interrupt, syscall.SIGTERM)
	defer stop()
	return exit(exitFailure, b.copyLog(ctx, c.App.Writer, log, master, limit))
}

// putAside moves what is there out of the way.
func putAside(o *store.Options, log *slog.Logger) error {
	aside := filepath.Join(o.RootDir, "replaced-"+time.Now().Format("20060102T150405"))
	for _, name := range replaced {
		from := filepath.Join(o.RootDir, name)
		if name == "commitlog" && o.CommitLogDir != "" {
			from = o.CommitLogDir
		}
		if _, err := os.Stat(from); errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err := os.MkdirAll(aside, 0o755); err != nil {
			return err
		}
		if err := os.Rename(from, filepath.Join(aside, name)); err != nil {
			return err
		}
		log.Info("put aside", "from", from, "to", aside)
	}
	return nil
}

// copyLog copies until the log is as long as the master's was when it was last heard of.
func (b *brokerSettings) copyLog(ctx context.Context, out io.Writer, log *slog.Logger, master string, limit int64) (err error) {
	o := b.opts
	o.Log = log
	st, err := store.Open(o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	if err := st.Start(); err != nil {
		return err
	}
	conf := ha.Config{
		ID: b.conf.ID, Heartbeat: b.conf.HAHeartbeat, Housekeeping: b.conf.HAHousekeeping, LastFileOnly: b.conf.SyncLastFile,
		FlowControl: limit > 0, MostPerSec: limit,
	}
	client := ha.NewClient(ha.ClientOptions{
		Store: st, Config: func() ha.Config { return conf }, Now: time.Now, Log: log, Limited: limit > 0,
		Dial: func(ctx context.Context, addr string) (net.Conn, error) {
			d := net.Dialer{Timeout: b.conf.ConnectTimeout}
			return d.DialContext(ctx, "tcp", addr)
		},
	})
	client.Follow(master, "operator", "apogee replica rebuild")
	client.Start()
	defer client.Stop()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return errors.New("interrupted; what has come stays, and the next run goes on from there")
		case <-tick.C:
		}
		s := client.Status()
		if line := progress(&s, st.LastStoreTime(), time.Now()); line != "" {
			fmt.Fprintln(out, line)
		}
		if s.Active && s.MasterEnd >= 0 && s.End >= s.MasterEnd {
			fmt.Fprintf(out, "the log is here up to %d, with %d bytes in the busiest second; the rest follows when the broker runs\n", s.End, s.Busiest)
			return nil
		}
	}
}

// progress is one line about a copy under way.
func progress(s *ha.ClientStatus, stored int64, now time.Time) string {
	if !s.Active {
		return ""
	}
	line := fmt.Sprintf("copied up to %d, %s/s", s.End, bytesText(s.PerSecond))
	if s.MasterEnd >= 0 {
		behind := max(s.MasterEnd-s.End, 0)
		line += fmt.Sprintf(", %s behind", bytesText(behind))
		if s.PerSecond > 0 {
			line += fmt.Sprintf(", %v to go", time.Duration(behind/s.PerSecond)*time.Second)
		}
	}
	if stored > 0 {
		line += fmt.Sprintf(", the last message is %v old", now.Sub(time.UnixMilli(stored)).Truncate(time.Second))
	}
	return line
}

func bytesText(n int64) string {
	units := []string{"B", "KB", "MB", "GB", "TB"}
	v, i := float64(n), 0
	for v >= 1000 && i < len(units)-1 {
		v, i = v/1000, i+1
	}
	return strconv.FormatFloat(math.Round(v*10)/10, 'f', -1, 64) + " " + units[i]
}

// parseRate reads bytes a second: a number with B, KB, MB or GB, and /s or nothing behind it. "" is no limit, 0.
func parseRate(text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	number, factor := strings.TrimSuffix(strings.ToUpper(strings.TrimSpace(text)), "/S"), 1.0
	for _, u := range []struct {
		unit   string
		factor float64
	}{{"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"B", 1}} {
		if n, ok := strings.CutSuffix(number, u.unit); ok {
			number, factor = n, u.factor
			break
		}
	}
	v, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if err != nil || !(v*factor >= 1 && v*factor < 1<<50) {
		return 0, fmt.Errorf("%q is not a number of bytes a second, such as 50MB/s", text)
	}
	return int64(v * factor), nil
}
