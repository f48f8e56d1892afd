package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"apogee/compat/fastjson"
	"apogee/store/inspect"
)

func inspectCommand(shared []cli.Flag) *cli.Command {
	return &cli.Command{
		Name: "inspect", Usage: "the state of the directory, or what one of its files holds", ArgsUsage: "DIR|FILE",
		Description: "With a folder: log, checkpoint, indexes and configuration files in short. With a file: what it is, and what stands in it, one\n" +
			"thing after the other: records of the commit log, entries of queues, batch queues and their extensions, index entries, slots of the\n" +
			"timer wheel, units of the timer log, checkpoints, epochs, configuration files and their backups.\n\n" +
			"Files are recognised by where they lie, by their names, or by what they begin with: copies can be looked at too.\n\n" +
			"Examples:\n" +
			"  apogee store inspect ~/store\n" +
			"  apogee store inspect ~/store/commitlog/00000000000000000000\n" +
			"  apogee store inspect --from 1200 --count 5 ~/store/consumequeue/Orders/0/00000000000000000000\n" +
			"  apogee store inspect --json --count 0 ~/store/timerwheel | jq .value.num",
		Flags: append([]cli.Flag{
			&cli.Int64Flag{Name: "from", Usage: "of a file: where to begin; an offset of the log, a queue offset, the number of an index entry or slot, a position"},
			&cli.IntFlag{Name: "count", Usage: "of a file: how many at most; 0 is all", Value: 20},
			&cli.StringFlag{Name: "body", Usage: "how bodies are shown: text, hex or none", Value: "text"},
		}, shared...),
		Action: func(c *cli.Context) error {
			if info, err := os.Stat(c.Args().First()); c.NArg() == 1 && err == nil && info.Mode().IsRegular() {
				return inspectFile(c, c.Args().First(), info.Size())
			}
			return onStore(0, func(c *cli.Context, s *inspect.Store) error { return printSummary(c, s) })(c)
		},
	}
}

// fileHead is the first line of JSON.
type fileHead struct {
	File string           `json:"file"`
	Kind inspect.FileKind `json:"kind"`
	Size int64            `json:"size"`
	Base int64            `json:"base"` // the offset that its name is
}

func inspectFile(c *cli.Context, name string, size int64) (err error) {
	whole, err := filepath.Abs(name)
	if err != nil {
		return err
	}
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	f, err := inspect.OpenFile(file, size, filepath.ToSlash(whole))
	if err != nil {
		return err
	}
	if c.Bool("json") {
		if err := printJSON(c.App.Writer, fileHead{name, f.Kind, size, f.Base}); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(c.App.Writer, "%s: %s, %d bytes\n", name, f.Kind, size)
	}
	n, count := 0, c.Int("count")
	var failed error
	err = f.Each(c.Int64("from"), func(i inspect.Item) bool {
		n++
		failed = printItem(c, f, i)
		return failed == nil && n != count
	})
	if err == nil && failed == nil && n == 0 && !c.Bool("json") {
		fmt.Fprintln(c.App.Writer, "nothing stands in it, or nothing from there on")
	}
	return errors.Join(err, failed)
}

// printItem prints one thing of a file.
func printItem(c *cli.Context, f *inspect.File, i inspect.Item) error {
	w := c.App.Writer
	if rec, ok := i.Value.(*inspect.Record); ok {
		d := describe(rec, nil, c.String("body"))
		if c.Bool("json") {
			i.Value = d
			return printJSON(w, i)
		}
		d.print(w)
		return nil
	}
	text, isText := i.Value.(string)
	if c.Bool("json") {
		if isText && f.Kind == inspect.ConfigText {
			if std, err := fastjson.Normalize(nil, []byte(text)); err == nil {
				i.Value = json.RawMessage(std)
			} else {
				i.Fault = err.Error()
			}
		}
		return printJSON(w, i)
	}
	if f.Counts() == "" {
		if !isText {
			text = flat(i.Value, "\n")
		}
		_, err := fmt.Fprintln(w, strings.TrimRight(text, "\n"))
		return err
	}
	if !isText {
		text = flat(i.Value, " ")
	}
	if i.Fault != "" {
		text = strings.TrimSpace(text + "  FAULT: " + i.Fault)
	}
	_, err := fmt.Fprintf(w, "%d at %d: %s\n", i.Number, i.At, text)
	return err
}

// flat is the members of an object as key=value, or the elements of a list one a line.
func flat(v any, between string) string {
	text, err := json.Marshal(v)
	if err != nil || v == nil {
		return ""
	}
	if text[0] == '[' {
		var list []json.RawMessage
		if json.Unmarshal(text, &list) != nil {
			return string(text)
		}
		lines := make([]string, len(list))
		for i, e := range list {
			lines[i] = flat(e, " ")
		}
		return strings.Join(lines, "\n")
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return string(text)
	}
	var out []string
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			break
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			break
		}
		out = append(out, fmt.Sprintf("%v=%s", key, strings.Trim(string(value), `"`)))
	}
	return strings.Join(out, between)
}
