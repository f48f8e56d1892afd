package main

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"github.com/urfave/cli/v2"

	"apogee/store/inspect"
	"apogee/store/record"
)

// Output goes to w, as text or as JSON; the two hold the same.

func storeCommand() *cli.Command {
	shared := []cli.Flag{
		&cli.StringFlag{Name: "commitlog", Usage: "folder of the commit log where it is not below DIR (storePathCommitLog)", Value: ""},
		&cli.BoolFlag{Name: "json", Usage: "print JSON; dump and list print one object a line"},
	}
	with := func(more ...cli.Flag) []cli.Flag { return append(append([]cli.Flag(nil), more...), shared...) }
	return &cli.Command{
		Name:  "store",
		Usage: "look into a data directory, Apogee's or Java's; repair or copy it",
		Description: "DIR is the broker's storePathRootDir, such as ~/store. But for repair and migrate, no lock is taken and nothing is written; a broker may be\n" +
			"running on the directory.\n\n" +
			"Examples:\n" +
			"  apogee store inspect ~/store                               log, checkpoint, indexes, configuration files\n" +
			"  apogee store list --topic Orders ~/store                   queues with their first and next offset\n" +
			"  apogee store dump --topic Orders --queue 0 --count 5 ~/store\n" +
			"  apogee store dump --offset 0 --count 10 --body hex ~/store the log itself, record by record\n" +
			"  apogee store config topics.json ~/store                    one configuration file\n" +
			"  apogee store verify ~/store                                everything is read and checked\n" +
			"  apogee store doctor -c broker.conf ~/store                 is it safe to open with these settings\n" +
			"  apogee store diff /backup/store ~/store                    what differs between the two\n" +
			"  apogee store export --all ~/store                          topics, groups, offsets as JSON",
		Action: needsCommand,
		Subcommands: []*cli.Command{
			inspectCommand(shared),
			{
				Name: "list", Usage: "topics and queues with their offsets", ArgsUsage: "DIR",
				Flags:  with(&cli.StringFlag{Name: "topic", Usage: "this topic only"}),
				Action: onStore(0, printQueues),
			},
			{
				Name: "dump", Usage: "messages, one after the other", ArgsUsage: "DIR",
				Flags: with(
					&cli.StringFlag{Name: "topic", Usage: "messages of a queue: its topic"},
					&cli.IntFlag{Name: "queue", Usage: "its number"},
					&cli.Int64Flag{Name: "from", Usage: "queue offset to start at"},
					&cli.Int64Flag{Name: "offset", Usage: "commit-log offset to start at, where no topic is given; -1 is the start", Value: -1},
					&cli.IntFlag{Name: "count", Usage: "how many at most; 0 is all", Value: 20},
					&cli.StringFlag{Name: "body", Usage: "how bodies are shown: text, hex or none", Value: "text"},
				),
				Action: onStore(0, dump),
			},
			{
				Name: "config", Usage: "print a file of the folder config as it is", ArgsUsage: "FILE DIR", Flags: with(),
				Action: onStore(1, printConfig),
			},
			verifyCommand(),
			repairCommand(),
			migrateCommand(),
			doctorCommand(),
			diffCommand(),
			exportCommand(),
		},
	}
}

// onStore opens the directory that is the last argument, behind more others.
func onStore(more int, f func(*cli.Context, *inspect.Store) error) cli.ActionFunc {
	return func(c *cli.Context) error {
		if c.NArg() != more+1 {
			return usageError(c, fmt.Errorf("expected %s", c.Command.ArgsUsage), true)
		}
		dir := c.Args().Get(more)
		var log fs.FS
		if at := c.String("commitlog"); at != "" {
			log = os.DirFS(at)
		}
		s, err := inspect.Open(os.DirFS(dir), log)
		if err != nil {
			return exit(exitUsage, fmt.Errorf("%s: %w", dir, err))
		}
		defer s.Close()
		return f(c, s)
	}
}

func printJSON(w io.Writer, v any) error { return json.NewEncoder(w).Encode(v) }

func printSummary(c *cli.Context, s *inspect.Store) error {
	sum, err := s.Summary()
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return printJSON(c.App.Writer, sum)
	}
	w := tabwriter.NewWriter(c.App.Writer, 0, 0, 2, ' ', 0)
	line := func(key, format string, args ...any) { fmt.Fprintf(w, key+"\t"+format+"\n", args...) }
	if sum.Abort {
		line("state", "a broker (process %s) runs, or ended without closing the store", sum.AbortPID)
	} else {
		line("state", "closed cleanly")
	}
	line("commit log", "%d files of %d bytes, %s to %s", sum.Log.Files, sum.Log.FileSize, sum.Log.First, sum.Log.Last)
	line("", "messages from offset %d to %d, %d bytes", sum.Log.Min, sum.Log.End, sum.Log.End-sum.Log.Min)
	line("queues", "%d topics, %d queues, %d entries", sum.Topics, sum.Queues, sum.Messages)
	for _, dir := range sum.RocksDB {
		line("", "%s is a RocksDB database; what is in it is not shown", dir)
	}
	if cp := sum.Checkpoint; cp != nil {
		line("checkpoint", "log %s, queues %s, index %s", moment(cp.PhysicTime), moment(cp.LogicsTime), moment(cp.IndexTime))
		line("", "confirmed %d, queues built to %d, flushed by the master %d", cp.ConfirmOffset, cp.LogicsPhysical, cp.MasterFlushed)
	}
	for i, ix := range sum.Indexes {
		line(first(i, "indexes"), "%s: %d entries in %d slots, offsets %d to %d, %s to %s",
			ix.Name, max(ix.IndexCount-1, 0), ix.SlotsUsed, ix.BeginPhys, ix.EndPhys, moment(ix.BeginTime), moment(ix.EndTime))
	}
	for i, f := range sum.Configs {
		line(first(i, "config"), "%s, %d bytes, %s", f.Name, f.Size, f.Modified.Format(timeLayout))
	}
	for i, f := range sum.Faults {
		line(first(i, "FAULTS"), "%s", f)
	}
	return w.Flush()
}

func first(i int, label string) string {
	if i > 0 {
		return ""
	}
	return label
}

const timeLayout = "2006-01-02 15:04:05.000"

func moment(ms int64) string {
	if ms == 0 {
		return "-"
	}
	return time.UnixMilli(ms).Format(timeLayout)
}

func printQueues(c *cli.Context, s *inspect.Store) error {
	queues, err := s.Queues()
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(c.App.Writer, 0, 0, 2, ' ', 0)
	if !c.Bool("json") {
		fmt.Fprintln(w, "TOPIC\tQUEUE\tMIN\tMAX\tMESSAGES\tFILES\tKIND")
	}
	for _, q := range queues {
		if topic := c.String("topic"); topic != "" && topic != q.Topic {
			continue
		}
		if c.Bool("json") {
			if err := printJSON(c.App.Writer, q); err != nil {
				return err
			}
			continue
		}
		kind := "simple"
		if q.Batch {
			kind = "batch"
		}
		if q.Fault != "" {
			kind += ", FAULT: " + q.Fault
		}
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\t%s\n", q.Topic, q.ID, q.Min, q.Max, q.Max-q.Min, q.Files, kind)
	}
	return w.Flush()
}

func printConfig(c *cli.Context, s *inspect.Store) error {
	text, err := s.ReadConfig(c.Args().First())
	if err != nil {
		return err
	}
	_, err = c.App.Writer.Write(append(text, '\n'))
	return err
}

// dumped is one message as dump prints it.
type dumped struct {
	Topic          string            `json:"topic"`
	QueueID        int32             `json:"queueId"`
	QueueOffset    int64             `json:"queueOffset"`
	PhysicalOffset int64             `json:"physicalOffset"`
	MessageID      string            `json:"offsetMsgId"`
	Size           int               `json:"storeSize"`
	Flag           int32             `json:"flag"`
	SysFlag        int32             `json:"sysFlag"`
	BornTime       int64             `json:"bornTimestamp"`
	BornHost       string            `json:"bornHost"`
	StoreTime      int64             `json:"storeTimestamp"`
	StoreHost      string            `json:"storeHost"`
	ReconsumeTimes int32             `json:"reconsumeTimes"`
	Prepared       int64             `json:"preparedTransactionOffset"`
	TagsCode       *int64            `json:"tagsCode,omitempty"` // of the queue entry
	Properties     map[string]string `json:"properties"`
	Body           string            `json:"body,omitempty"`
	BodyHex        string            `json:"bodyHex,omitempty"`
	BodySize       int               `json:"bodySize"`
	Fault          string            `json:"fault,omitempty"`
}

func describe(rec *inspect.Record, entry *inspect.Entry, body string) dumped {
	d := dumped{
		Topic: rec.Topic, QueueID: rec.QueueID, QueueOffset: rec.QueueOffset, PhysicalOffset: rec.PhysicalOffset,
		MessageID: string(record.AppendMessageID(nil, rec.StoreHost, rec.PhysicalOffset)),
		Size:      len(rec.Bytes), Flag: rec.Flag, SysFlag: rec.SysFlag, BornTime: rec.BornTimestamp, BornHost: rec.BornHost.String(),
		StoreTime: rec.StoreTimestamp, StoreHost: rec.StoreHost.String(), ReconsumeTimes: rec.ReconsumeTimes,
		Prepared: rec.PreparedTransactionOffset, Properties: map[string]string{}, BodySize: len(rec.Body),
	}
	for c := record.Pairs([]byte(rec.Properties)); c.Next(); {
		d.Properties[string(c.Name)] = string(c.Value)
	}
	if entry != nil {
		d.TagsCode = &entry.TagsCode
	}
	switch {
	case body == "none":
	case body == "text" && utf8.Valid(rec.Body):
		d.Body = string(rec.Body)
	default:
		d.BodyHex = hex.EncodeToString(rec.Body)
	}
	if rec.Fault != nil {
		d.Fault = rec.Fault.Error()
	}
	return d
}

func (d dumped) print(w io.Writer) {
	fmt.Fprintf(w, "%s/%d at %d  log %d, %d bytes  id %s\n", d.Topic, d.QueueID, d.QueueOffset, d.PhysicalOffset, d.Size, d.MessageID)
	fmt.Fprintf(w, "  born %s at %s, stored %s at %s, flag %d, sysFlag %d, reconsumed %d\n",
		moment(d.BornTime), d.BornHost, moment(d.StoreTime), d.StoreHost, d.Flag, d.SysFlag, d.ReconsumeTimes)
	if d.Prepared != 0 {
		fmt.Fprintf(w, "  prepared message at log %d\n", d.Prepared)
	}
	if d.TagsCode != nil {
		fmt.Fprintf(w, "  tagsCode %d\n", *d.TagsCode)
	}
	if len(d.Properties) > 0 {
		text, _ := json.Marshal(d.Properties)
		fmt.Fprintf(w, "  properties %s\n", text)
	}
	switch {
	case d.BodyHex != "":
		fmt.Fprintf(w, "  body, %d bytes, hex %s\n", d.BodySize, d.BodyHex)
	case d.Body != "":
		fmt.Fprintf(w, "  body, %d bytes: %q\n", d.BodySize, d.Body)
	default:
		fmt.Fprintf(w, "  body, %d bytes\n", d.BodySize)
	}
	if d.Fault != "" {
		fmt.Fprintf(w, "  FAULT: %s\n", d.Fault)
	}
}

func dump(c *cli.Context, s *inspect.Store) error {
	body := c.String("body")
	if body != "text" && body != "hex" && body != "none" {
		return usageError(c, fmt.Errorf("body %q: allowed are text, hex and none", body), true)
	}
	left := c.Int("count")
	// show prints one message and tells whether more are wanted.
	show := func(rec *inspect.Record, e *inspect.Entry) (bool, error) {
		d := describe(rec, e, body)
		if c.Bool("json") {
			if err := printJSON(c.App.Writer, d); err != nil {
				return false, err
			}
		} else {
			d.print(c.App.Writer)
		}
		left--
		return left != 0, nil
	}
	if c.IsSet("topic") {
		return dumpQueue(c, s, show)
	}
	return dumpLog(c, s, show)
}

type showFunc func(*inspect.Record, *inspect.Entry) (bool, error)

func dumpQueue(c *cli.Context, s *inspect.Store, show showFunc) error {
	queues, err := s.Queues()
	if err != nil {
		return err
	}
	for _, q := range queues {
		if q.Topic != c.String("topic") || int(q.ID) != c.Int("queue") {
			continue
		}
		var failed error
		err := s.EachEntry(q, c.Int64("from"), func(e inspect.Entry) bool {
			rec, err := s.RecordAt(e)
			if err != nil {
				failed = fmt.Errorf("%s/%d at %d: %w", q.Topic, q.ID, e.QueueOffset, err)
				return false
			}
			more, err := show(rec, &e)
			failed = err
			return more && err == nil
		})
		return errors.Join(failed, err)
	}
	return exit(exitUsage, fmt.Errorf("there is no queue %d of topic %s", c.Int("queue"), c.String("topic")))
}

func dumpLog(c *cli.Context, s *inspect.Store, show showFunc) error {
	off := c.Int64("offset")
	if off < 0 {
		sum, err := s.Summary()
		if err != nil {
			return err
		}
		off = sum.Log.Min
	}
	for r := s.Reader(off); ; {
		rec, err := r.Next()
		if errors.Is(err, inspect.ErrEnd) {
			return nil
		}
		if err != nil {
			return err
		}
		if more, err := show(rec, nil); err != nil || !more {
			return err
		}
	}
}
