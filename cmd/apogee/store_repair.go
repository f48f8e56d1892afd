package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"time"

	"github.com/urfave/cli/v2"

	"apogee/broker/meta"
	"apogee/compat/body"
	"apogee/compat/fastjson"
	"apogee/compat/properties"
	"apogee/store"
	"apogee/store/repair"
	"apogee/store/vfs"
)

// Exit codes of the commands that judge a directory: 0 is all well, 1 that something is not, 2 that they could not do their work.
const (
	exitRemains = 1
	exitBroken  = 2
)

func repairCommand() *cli.Command {
	return &cli.Command{
		Name: "repair", Usage: "put a damaged directory in order", ArgsUsage: "DIR",
		Description: "With --dry-run it says what is wrong and what would be done, and changes nothing; with --apply it does it. No broker may run on DIR.\n\n" +
			"What is replaced goes to DIR/quarantine/DATE-TIME; nothing is deleted, so there must be room. Queues and indexes are made again\n" +
			"from the commit log, which takes as long as reading it. Where bytes of the log are no record any more, the report says which\n" +
			"messages they were, and the part is noted in DIR/damaged.json: nobody is given anything of it, and readers go on behind it. The same\n" +
			"is done about a record whose body is damaged. All bytes stay.\n" +
			"Queues of a Java broker with enableConsumeQueueExt that are made again have no extensions (bit maps of filters): they do without.\n" +
			"A compaction log is made again where the commit log still has all of it; otherwise the report says what to do.\n" +
			"A run that was killed is run again. Replicas of a repaired log differ from it where it was damaged: make them anew.\n\n" +
			"File sizes come from the broker's configuration (-c). Without one they are taken from the files, and an index of other than Java's\n" +
			"default size is not looked at.\n\n" +
			"Exit code: 0 nothing is left to do, 1 something is, 2 the directory could not be read or written.\n\n" +
			"Examples:\n" +
			"  apogee store repair --dry-run -c conf/broker.conf ~/store\n" +
			"  apogee store repair --apply -c conf/broker.conf ~/store\n" +
			"  apogee store repair --dry-run --json ~/store | jq '.steps[] | select(.lost)'",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "dry-run", Usage: "say what would be done"},
			&cli.BoolFlag{Name: "apply", Usage: "do it"},
			&cli.StringFlag{Name: "configFile", Aliases: []string{"c"}, Usage: "properties `FILE` that the broker runs with"},
			&cli.StringFlag{Name: "commitlog", Usage: "folder of the commit log where it is not below DIR and -c does not say so (storePathCommitLog)"},
			&cli.BoolFlag{Name: "json", Usage: "print JSON"},
		},
		Action: runRepair,
	}
}

func runRepair(c *cli.Context) error {
	if c.NArg() != 1 {
		return usageError(c, fmt.Errorf("expected %s", c.Command.ArgsUsage), true)
	}
	if c.Bool("apply") == c.Bool("dry-run") {
		return usageError(c, errors.New("say one of --dry-run and --apply"), true)
	}
	opts, err := storeOptions(c, c.Args().First())
	if err != nil {
		return exit(exitBroken, err)
	}
	topics := readTopics(opts.RootDir)
	opts.QueueKind = topics.kind
	rep, err := repair.Run(repair.Options{
		Store: opts, Apply: c.Bool("apply"), ValidConfig: validJSON, Deleted: topics.deleted, Progress: progressLine(c.App.ErrWriter, "log", time.Now),
	})
	if rep != nil {
		err = errors.Join(err, printRepair(c, rep))
	}
	switch {
	case err != nil:
		return exit(exitBroken, err)
	case rep.Remains > 0:
		return exit(exitRemains, fmt.Errorf("%d things remain", rep.Remains))
	case !rep.Applied && len(rep.Steps) > 0:
		return exit(exitRemains, fmt.Errorf("%d things to do: run with --apply", len(rep.Steps)))
	}
	return nil
}

// configured are the options of a configuration file, "" for none.
func configured(name string) (opts store.Options, err error) {
	if name == "" {
		return store.Defaults(), nil
	}
	file, err := readProperties(name)
	if err == nil {
		_, err = properties.Bind(file, &opts)
	}
	opts.Whole = true
	return opts, err
}

// storeOptions is how a broker would open dir: by the configuration that -c names, else by what the files say.
func storeOptions(c *cli.Context, dir string) (store.Options, error) {
	opts, err := configured(c.String("configFile"))
	if err != nil {
		return opts, err
	}
	opts.RootDir, opts.FS, opts.Now = dir, vfs.OS(), time.Now
	if at := c.String("commitlog"); at != "" {
		opts.CommitLogDir = at
	}
	if c.String("configFile") == "" {
		repair.Sizes(opts.FS, &opts)
	}
	return opts, nil
}

// topicTable are the topics of a directory, as far as its queues depend on them. It is read without touching anything.
type topicTable map[string]*body.TopicConfig

func readTopics(dir string) topicTable {
	for _, name := range []string{"topics.json", "topics.json.bak"} {
		text, err := os.ReadFile(path.Join(meta.ConfigDir(dir), name))
		if err != nil {
			continue
		}
		var w body.TopicConfigSerializeWrapper
		if fastjson.Unmarshal(text, &w) == nil && len(w.TopicConfigTable) > 0 {
			return w.TopicConfigTable
		}
	}
	return nil
}

func (t topicTable) kind(topic string) store.QueueKind {
	switch c := t[topic]; {
	case c == nil:
	case c.Attributes["queue.type"] == "BatchCQ":
		return store.BatchQueue
	case c.Attributes["cleanup.policy"] == "COMPACTION":
		return store.CompactionQueue
	}
	return store.SimpleQueue
}

// deleted tells whether a topic is not configured. Light queues never are.
func (t topicTable) deleted(topic string) bool {
	return len(t) > 0 && t[topic] == nil && (len(topic) < 5 || topic[:5] != "%LMQ%")
}

// validJSON tells why a file of the folder config cannot be read.
func validJSON(_ string, text []byte) error {
	var any map[string]any
	return fastjson.Unmarshal(text, &any)
}

func printRepair(c *cli.Context, rep *repair.Report) error {
	w := c.App.Writer
	if c.Bool("json") {
		return printJSON(w, rep)
	}
	fmt.Fprintf(w, "log      %d records from %d to %d\n", rep.Records, rep.Begin, rep.End)
	for _, s := range rep.Steps {
		fmt.Fprintf(w, "%-8s %s: %s\n", s.State, s.Path, s.Kind)
		if s.At != nil {
			fmt.Fprintf(w, "         at %d\n", *s.At)
		}
		for _, line := range [][2]string{{"found", s.Found}, {"do", s.Do}, {"lost", s.Lost}} {
			if line[1] != "" {
				fmt.Fprintf(w, "         %-6s%s\n", line[0], line[1])
			}
		}
	}
	switch {
	case len(rep.Steps) == 0:
		fmt.Fprintln(w, "nothing to do")
	case rep.Quarantine != "":
		fmt.Fprintf(w, "what was replaced is in %s\n", path.Join(rep.Dir, rep.Quarantine))
	}
	return nil
}

// progressLine prints how far something is, every two seconds, with an estimate of when it ends.
func progressLine(w io.Writer, what string, now func() time.Time) func(done, total int64) {
	begun := now()
	last := begun
	return func(done, total int64) {
		t := now()
		if total <= 0 || t.Sub(last) < 2*time.Second {
			return
		}
		last = t
		left := "?"
		if done > 0 {
			left = time.Duration(float64(t.Sub(begun)) * float64(total-done) / float64(done)).Round(time.Second).String()
		}
		fmt.Fprintf(w, "%s: %d of %d MiB, %d%%, about %s left\n", what, done>>20, total>>20, done*100/total, left)
	}
}
