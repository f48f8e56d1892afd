package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"apogee/store/compare"
	"apogee/store/inspect"
	"apogee/store/verify"
)

func diffCommand() *cli.Command {
	return &cli.Command{
		Name: "diff", Usage: "compare what two directories hold, not their bytes", ArgsUsage: "A B",
		Description: "Messages of each queue by hash, first and last offsets of queues, topics, groups, consumer offsets, delay offsets, filters and the\n" +
			"other tables of config, and the timers that wait. Sizes of files, places in the log, data versions and the index do not count; a\n" +
			"compaction log counts by the queue that it is made from.\n\n" +
			"Exit codes: 0 the same, 1 they differ, 2 they could not be compared.\n\n" +
			"Examples:\n" +
			"  apogee store diff /backup/store ~/store\n" +
			"  apogee store diff --json --limit 0 A B | jq '.list[] | select(.what == \"message\")'",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "configFile", Aliases: []string{"c"}, Usage: "the broker's `FILE` of properties, for both: sizes of index files, delay levels"},
			&cli.StringFlag{Name: "commitlog", Usage: "folder of A's commit log where it is not below A"},
			&cli.StringFlag{Name: "commitlog-b", Usage: "folder of B's"},
			&cli.IntFlag{Name: "limit", Usage: "how many differences are shown; 0 is all", Value: 100},
			&cli.BoolFlag{Name: "json", Usage: "print one JSON object"},
		},
		Action: runDiff,
	}
}

// compared is what diff --json prints.
type compared struct {
	*compare.Result
	List    []compare.Difference `json:"list"`
	Omitted int64                `json:"omitted"`
}

func runDiff(c *cli.Context) error {
	if c.NArg() != 2 {
		return usageError(c, errors.New("expected A B"), true)
	}
	o := compare.Options{}
	for i, side := range []*verify.Options{&o.A, &o.B} {
		p, err := openPlace(c, c.Args().Get(i))
		if err != nil {
			return err
		}
		if at := c.String("commitlog-b"); i == 1 && at != "" {
			p.log = os.DirFS(at)
		} else if i == 1 {
			p.log = nil // --commitlog, and that of the file, are A's
		}
		if *side, err = p.options(); err != nil {
			return err
		}
	}
	out := compared{List: []compare.Difference{}}
	o.Report = func(d compare.Difference) {
		if limit := c.Int("limit"); limit > 0 && len(out.List) >= limit {
			out.Omitted++
			return
		}
		if out.List = append(out.List, d); !c.Bool("json") {
			printDifference(c, &d)
		}
	}
	meters := map[string]*meter{}
	o.Progress = func(side string, done, total int64) {
		if meters[side] == nil {
			meters[side] = newMeter(c.App.ErrWriter, "diff, "+side, time.Now)
		}
		meters[side].at(done, total)
	}
	var err error
	if out.Result, err = compare.Run(c.Context, o); err != nil {
		return noLook(err)
	}
	if c.Bool("json") {
		err = printJSON(c.App.Writer, out)
	} else {
		out.print(c)
	}
	if err == nil && !out.Same {
		return exit(exitFound, errors.New("they differ"))
	}
	return err
}

func printDifference(c *cli.Context, d *compare.Difference) {
	side := func(s string) string {
		if s == "" {
			return "(nothing)"
		}
		return s
	}
	at := d.Name
	if d.What == "message" {
		at = fmt.Sprintf("%s at %d", d.Name, d.Offset)
	}
	fmt.Fprintf(c.App.Writer, "%s %s\n  A: %s\n  B: %s\n", d.What, at, side(d.A), side(d.B))
}

func (out *compared) print(c *cli.Context) {
	w := c.App.Writer
	if out.Omitted > 0 {
		fmt.Fprintf(w, "... and %d more (--limit 0 shows all)\n", out.Omitted)
	}
	for _, s := range []struct {
		name string
		side compare.Side
	}{{"A", out.A}, {"B", out.B}} {
		fmt.Fprintf(w, "%s: %d messages in %d queues, %d timers", s.name, s.side.Messages, s.side.Queues, s.side.Timers)
		if n := s.side.Findings[verify.Damage] + s.side.Findings[verify.Recoverable]; n > 0 {
			fmt.Fprintf(w, "; apogee store verify has %d findings", n)
		}
		fmt.Fprintln(w)
	}
	if out.Same {
		fmt.Fprintln(w, "the same")
	}
}

// exports are what export can print: a switch for each, and the files that it prints.
var exports = []struct {
	flag, usage string
	files       []string
}{
	{"topics", "topics, in the shape of topics.json", []string{"topics.json"}},
	{"groups", "consumer groups, in the shape of subscriptionGroup.json", []string{"subscriptionGroup.json"}},
	{"offsets", "consumer offsets, in the shape of consumerOffset.json", []string{"lmqConsumerOffset.json", "consumerOffset.json"}},
}

func exportCommand() *cli.Command {
	flags := []cli.Flag{
		&cli.BoolFlag{Name: "all", Usage: "all tables of config, each under its file's name without .json"},
		&cli.BoolFlag{Name: "compact", Usage: "on one line"},
	}
	for _, e := range exports {
		flags = append(flags, &cli.BoolFlag{Name: e.flag, Usage: e.usage})
	}
	return &cli.Command{
		Name: "export", Usage: "print topics, groups and offsets as JSON for other tools", ArgsUsage: "DIR",
		Description: "The shapes are Java's, as JSON that every tool reads: keys that are numbers are in quotes. Where a file cannot be read its backup is\n" +
			"taken, as a broker would. Offsets are those of lmqConsumerOffset.json where that file is the newer one (enableLmq keeps all of them there).\n\n" +
			"Examples:\n" +
			"  apogee store export --topics ~/store | jq -r '.topicConfigTable | keys[]'\n" +
			"  apogee store export --offsets ~/store > offsets.json\n" +
			"  apogee store export --all ~/store > metadata.json",
		Flags:  flags,
		Action: runExport,
	}
}

func runExport(c *cli.Context) error {
	if c.NArg() != 1 {
		return usageError(c, errors.New("expected DIR"), true)
	}
	dir := c.Args().First()
	root := os.DirFS(dir)
	if _, err := fs.Stat(root, "config"); err != nil {
		return noLook(fmt.Errorf("%s: %w", dir, err))
	}
	for _, at := range inspect.RocksDirs(root) {
		if at != "consumequeue" && at != "consumequeue_rocksdb" {
			return noLook(fmt.Errorf("%s: the tables are in RocksDB (%s), which is not read; apogee store doctor says what to do", dir, at))
		}
	}
	var picked []string
	for _, e := range exports {
		if c.Bool(e.flag) {
			picked = append(picked, newest(dir, e.files))
		}
	}
	whole := c.Bool("all")
	if whole {
		picked = compare.Tables()
	}
	if len(picked) == 0 {
		return usageError(c, errors.New("expected one of --topics, --groups, --offsets and --all"), true)
	}
	out := map[string]json.RawMessage{}
	for _, name := range picked {
		text, from, err := compare.Table(root, name)
		if errors.Is(err, fs.ErrNotExist) && (whole || len(picked) > 1) {
			continue
		}
		if err != nil {
			return noLook(fmt.Errorf("%s: %w", dir, err))
		}
		if from != name {
			fmt.Fprintf(c.App.ErrWriter, "config/%s cannot be read; its backup is taken\n", name)
		}
		out[trimJSON(name)] = text
	}
	var v any = out
	if !whole && len(picked) == 1 {
		v = out[trimJSON(picked[0])]
	}
	text, err := json.Marshal(v)
	if err != nil {
		return noLook(err)
	}
	var laid bytes.Buffer
	if c.Bool("compact") {
		laid.Write(text)
	} else if err := json.Indent(&laid, text, "", "  "); err != nil {
		return noLook(err)
	}
	_, err = fmt.Fprintln(c.App.Writer, laid.String())
	return err
}

func trimJSON(name string) string { return name[:len(name)-len(filepath.Ext(name))] }

// newest is the file that was changed last of those that are there, the last one if none is.
func newest(dir string, files []string) string {
	var at time.Time
	best := files[len(files)-1]
	for _, name := range slices.Backward(files) {
		if info, err := os.Stat(filepath.Join(dir, "config", name)); err == nil && info.ModTime().After(at) {
			at, best = info.ModTime(), name
		}
	}
	return best
}
