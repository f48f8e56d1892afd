package main

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"apogee/store/migrate"
	"apogee/store/vfs"
)

func migrateCommand() *cli.Command {
	return &cli.Command{
		Name: "migrate", Usage: "copy a directory, with other file sizes or on other disks", ArgsUsage: "SRC DST",
		Description: "SRC is only read, and locked for the time; its broker must have been stopped, and must have closed it. DST is empty, or holds what a\n" +
			"killed run of the same command has left: that goes on where it stopped. When all is copied, both are read again and compared: each\n" +
			"message, byte by byte but for its place in the log, and each entry of each queue. Until then no broker opens DST.\n\n" +
			"What changes. Queue offsets never do, nor topics, groups, and what consumers have consumed. With the same mappedFileSizeCommitLog the log is\n" +
			"copied as it is. With another, messages get other places in the log, because none may lie across two files, and with them\n" +
			"  - message ids that hold a place (offsetMsgId): who has stored such an id does not find the message by it any more; by key it does\n" +
			"  - replicas: a slave's log must have the offsets of its master's. Copy the master, and let slaves begin on empty directories;\n" +
			"    directories of controller mode (epochFileCheckpoint) are refused, with the way out of their group\n" +
			"  - transactions that producers end just now: they are asked again, as after any restart\n" +
			"Queues, index, delays, timers, half messages and the checkpoint are moved along. A record must fit into a file of the new size.\n" +
			"Parts of the log that are noted as damaged (damaged.json) move as well, once apogee store repair --apply has wrapped them.\n\n" +
			"The copy needs as much room as SRC, and takes as long as reading it three times. At the end the settings are printed that broker.conf\n" +
			"must say for the copy.\n\n" +
			"Exit code: 0 done, 2 not.\n\n" +
			"Examples:\n" +
			"  apogee store migrate -c conf/broker.conf ~/store /data/store                           to another disk\n" +
			"  apogee store migrate --dst-commitlog /ssd/log --limit 100MB/s ~/store /data/store      log and rest apart, slowly\n" +
			"  apogee store migrate --mappedFileSizeCommitLog 256MB -c conf/broker.conf ~/store /data/store",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "configFile", Aliases: []string{"c"}, Usage: "properties `FILE` that the broker of SRC runs with: where its log is, and the size of its index"},
			&cli.StringFlag{Name: "src-commitlog", Usage: "folder of SRC's log, where it is not below SRC and -c does not say so"},
			&cli.StringFlag{Name: "dst-commitlog", Usage: "folder for the copy's log, where it shall not be below DST"},
			&cli.StringFlag{Name: "mappedFileSizeCommitLog", Usage: "`SIZE` of the copy's log files, such as 1073741824 or 1GB"},
			&cli.StringFlag{Name: "mappedFileSizeConsumeQueue", Usage: "`SIZE` of the copy's queue files, a multiple of 20"},
			&cli.StringFlag{Name: "mapperFileSizeBatchConsumeQueue", Usage: "`SIZE` of the files of batch queues, a multiple of 46"},
			&cli.StringFlag{Name: "limit", Usage: "read no more than `RATE`, such as 100MB/s"},
			&cli.BoolFlag{Name: "json", Usage: "print JSON"},
		},
		Action: runMigrate,
	}
}

func runMigrate(c *cli.Context) error {
	if c.NArg() != 2 {
		return usageError(c, fmt.Errorf("expected %s", c.Command.ArgsUsage), true)
	}
	o, err := migrateOptions(c)
	if err != nil {
		return usageError(c, err, true)
	}
	rep, err := migrate.Run(o)
	if err != nil {
		return exit(exitBroken, err)
	}
	w := c.App.Writer
	if c.Bool("json") {
		return printJSON(w, rep)
	}
	fmt.Fprintf(w, "copied and compared: %d messages with %d bytes, %d queues with %d entries, %d index files; 0 differences\n",
		rep.Records, rep.Bytes, rep.Queues, rep.Entries, rep.IndexFiles)
	fmt.Fprintf(w, "digest of all messages by queue: %s\n", rep.Digest)
	if rep.Rewritten {
		fmt.Fprintln(w, "places in the log have changed: begin replicas anew, on empty directories")
	}
	if rep.DamagedBody > 0 {
		fmt.Fprintf(w, "%d messages have damaged bodies, in the source as well; see apogee store verify\n", rep.DamagedBody)
	}
	if len(rep.NotCopied) > 0 {
		fmt.Fprintf(w, "not copied, for brokers do without: %s\n", strings.Join(rep.NotCopied, ", "))
	}
	fmt.Fprintf(w, "settings of the copy:\n  %s\n", strings.Join(rep.Settings, "\n  "))
	return nil
}

func migrateOptions(c *cli.Context) (o migrate.Options, err error) {
	src, err1 := filepath.Abs(c.Args().Get(0))
	dst, err2 := filepath.Abs(c.Args().Get(1))
	if err := errors.Join(err1, err2); err != nil {
		return o, err
	}
	opts, err := configured(c.String("configFile"))
	if err != nil {
		return o, err
	}
	o = migrate.Options{
		FS: vfs.OS(), Src: src, Dst: dst, SrcLog: opts.CommitLogDir, DstLog: c.String("dst-commitlog"),
		HashSlots: int64(opts.MaxHashSlotNum), IndexEntries: int64(opts.MaxIndexNum),
	}
	show := progressLine(c.App.ErrWriter, "read", time.Now)
	o.Progress = func(_ string, done, total int64) { show(min(done, total), total) }
	if at := c.String("src-commitlog"); at != "" {
		o.SrcLog = at
	}
	for _, dir := range []*string{&o.SrcLog, &o.DstLog} {
		if *dir != "" {
			if *dir, err = filepath.Abs(*dir); err != nil {
				return o, err
			}
		}
	}
	for _, s := range []struct {
		name string
		to   *int64
	}{
		{"mappedFileSizeCommitLog", &o.LogFile}, {"mappedFileSizeConsumeQueue", &o.QueueFile}, {"mapperFileSizeBatchConsumeQueue", &o.BatchQueueFile},
	} {
		if *s.to, err = parseSize(c.String(s.name)); err != nil {
			return o, fmt.Errorf("%s: %w", s.name, err)
		}
	}
	if o.LogFile != 0 && (o.LogFile < vfs.PageSize || o.LogFile > math.MaxInt32) {
		return o, fmt.Errorf("mappedFileSizeCommitLog: %d is not from 4096 to below 2 GiB", o.LogFile)
	}
	rate, err := parseSize(strings.TrimSuffix(c.String("limit"), "/s"))
	if err != nil {
		return o, fmt.Errorf("limit: %w", err)
	}
	if rate > 0 {
		o.Pace = paced(rate)
	}
	return o, nil
}

// paced waits so that no more than rate bytes a second are read.
func paced(rate int64) func(int64) error {
	begun, bytes := time.Now(), int64(0)
	return func(n int64) error {
		bytes += n
		due := time.Duration(float64(bytes) / float64(rate) * float64(time.Second))
		if ahead := due - time.Since(begun); ahead > time.Millisecond {
			time.Sleep(ahead)
		}
		return nil
	}
}

// parseSize reads a number of bytes, with KB, MB or GB behind it or not; "" is 0.
func parseSize(text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	upper, unit := strings.ToUpper(strings.TrimSpace(text)), int64(1)
	for suffix, u := range map[string]int64{"K": 1 << 10, "M": 1 << 20, "G": 1 << 30} {
		for _, s := range []string{suffix + "IB", suffix + "B", suffix} {
			if rest, ok := strings.CutSuffix(upper, s); ok && unit == 1 {
				upper, unit = strings.TrimSpace(rest), u
			}
		}
	}
	n, err := strconv.ParseInt(upper, 10, 64)
	if err != nil || n <= 0 || n > math.MaxInt64/unit {
		return 0, fmt.Errorf("%q is no size such as 100MB", text)
	}
	return n * unit, nil
}
