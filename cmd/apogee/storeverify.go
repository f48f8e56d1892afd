package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"apogee/broker/delay"
	"apogee/broker/timer"
	"apogee/compat/properties"
	"apogee/store/verify"
	"apogee/store/vfs"
)

// Exit codes of the commands that look for something.
const (
	exitFound  = 1 // they found it
	exitNoLook = 2 // they could not look
)

// lookCommands use the two codes above, for wrong command lines too.
var lookCommands = []string{"verify", "diff", "doctor", "export"}

func verifyCommand() *cli.Command {
	return &cli.Command{
		Name: "verify", Usage: "read everything, and tell what is wrong", ArgsUsage: "DIR",
		Description: "Every record of the commit log is read and checked, and with it everything that points into the log: entries of queues,\n" +
			"batch queues and index files; then checkpoint, timers, compaction logs, and the files of config with their backups.\n" +
			"Nothing is written and no lock is taken. While a broker is at work in DIR, what it has in memory only, or is just writing, is no\n" +
			"finding.\n\n" +
			"A finding is of one of three levels:\n" +
			"  damage       something is lost or wrong, and stays so\n" +
			"  recoverable  normal after a crash; the next start of a broker puts it right\n" +
			"  note         nothing is wrong (shown with --notes)\n\n" +
			"Exit codes: 0 sound, 1 there are findings, 2 it could not be looked at, or not at all of it.\n\n" +
			"Examples:\n" +
			"  apogee store verify ~/store\n" +
			"  apogee store verify -c conf/broker.conf ~/store     with other index sizes or delay levels than Java's defaults\n" +
			"  apogee store verify --json ~/store | jq .levels\n" +
			"  apogee store verify --limit 0 --notes ~/store       each finding, and each note",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "configFile", Aliases: []string{"c"}, Usage: "the broker's `FILE` of properties: sizes of index files, delay levels, folder of the log"},
			&cli.StringFlag{Name: "commitlog", Usage: "folder of the commit log where it is not below DIR (storePathCommitLog)"},
			&cli.IntFlag{Name: "limit", Usage: "how many findings are shown; 0 is all", Value: 100},
			&cli.BoolFlag{Name: "notes", Usage: "show notes too"},
			&cli.BoolFlag{Name: "json", Usage: "print one JSON object"},
		},
		Action: runVerify,
	}
}

// noLook is an error that kept a command from looking.
func noLook(err error) error { return exit(exitNoLook, err) }

// place is a data directory that a command is to look at.
type place struct {
	dir      string
	root     fs.FS
	log      fs.FS // nil is commitlog below root
	logDir   string
	settings *properties.File
	live     bool
	holder   string // who is at work in it
}

// openPlace finds the directory that an argument names, and whether a broker is at work in it.
func openPlace(c *cli.Context, dir string) (*place, error) {
	p := &place{dir: dir, settings: properties.New("")}
	info, err := os.Stat(dir)
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("%s is no folder", dir)
	}
	if err != nil {
		return nil, noLook(err)
	}
	p.root = os.DirFS(dir)
	if file := c.String("configFile"); file != "" {
		if p.settings, err = readProperties(file); err != nil {
			return nil, noLook(err)
		}
	}
	at := c.String("commitlog")
	if at == "" {
		at, _ = p.settings.Get("storePathCommitLog")
	}
	if at != "" {
		p.log, p.logDir = os.DirFS(at), at
	}
	held, pid, err := vfs.Locked(filepath.Join(dir, "lock"))
	if err != nil {
		return nil, noLook(err)
	}
	if p.live = held; held {
		p.holder = "a broker"
		text, _ := os.ReadFile(filepath.Join(dir, "abort"))
		if n, err := strconv.Atoi(strings.TrimSpace(string(text))); pid == 0 && err == nil {
			pid = n
		}
		if pid > 0 {
			p.holder = fmt.Sprintf("process %d", pid)
		}
	}
	return p, nil
}

// options are those of verify.
func (p *place) options() (o verify.Options, err error) {
	o = verify.Options{Root: p.root, Log: p.log, Live: p.live}
	for key, to := range map[string]*int32{"maxHashSlotNum": &o.IndexSlots, "maxIndexNum": &o.IndexEntries} {
		if text, ok := p.settings.Get(key); ok {
			n, err := strconv.ParseInt(text, 10, 32)
			if err != nil || n < 1 {
				return o, noLook(fmt.Errorf("%s=%s is no number of entries", key, text))
			}
			*to = int32(n)
		}
	}
	if text, ok := p.settings.Get("timerPrecisionMs"); ok {
		ms, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return o, noLook(fmt.Errorf("timerPrecisionMs: %w", err))
		}
		o.TimerPrecision = timer.Precision(ms)
	}
	if text, ok := p.settings.Get("messageDelayLevel"); ok {
		levels, err := delay.ParseLevels(text)
		if err != nil {
			return o, noLook(fmt.Errorf("messageDelayLevel: %w", err))
		}
		o.DelayLevels = levels
	}
	return o, nil
}

// verified is what verify --json prints.
type verified struct {
	*verify.Result
	Sound   bool             `json:"sound"`
	Holder  string           `json:"heldBy,omitempty"`
	List    []verify.Finding `json:"list"`
	Omitted int64            `json:"omitted"` // findings that are not in the list
}

func runVerify(c *cli.Context) error {
	if c.NArg() != 1 {
		return usageError(c, fmt.Errorf("expected DIR"), true)
	}
	p, err := openPlace(c, c.Args().First())
	if err != nil {
		return err
	}
	o, err := p.options()
	if err != nil {
		return err
	}
	out := verified{Holder: p.holder, List: []verify.Finding{}}
	text := !c.Bool("json")
	if text && p.live {
		fmt.Fprintf(c.App.Writer, "%s is at work in %s: what it has in memory only is no finding\n", p.holder, p.dir)
	}
	o.Report = func(f verify.Finding) {
		if f.Level == verify.Note && !c.Bool("notes") {
			return
		}
		if limit := c.Int("limit"); limit > 0 && len(out.List) >= limit {
			out.Omitted++
			return
		}
		if out.List = append(out.List, f); text {
			printFinding(c.App.Writer, &f)
		}
	}
	meter := newMeter(c.App.ErrWriter, "verify", time.Now)
	o.Progress = meter.at
	if out.Result, err = verify.Run(c.Context, o); err != nil {
		return noLook(fmt.Errorf("%s: %w", p.dir, err))
	}
	out.Sound = out.Result.Sound()
	if text {
		out.print(c.App.Writer)
	} else if err := printJSON(c.App.Writer, out); err != nil {
		return noLook(err)
	}
	return out.verdict()
}

// verdict is the exit code; what there is to say has been said.
func (v *verified) verdict() error {
	switch {
	case v.Unreadable > 0:
		return noLook(errors.New("some of it could not be read"))
	case !v.Sound:
		return exit(exitFound, fmt.Errorf("%d findings", v.Levels[verify.Damage]+v.Levels[verify.Recoverable]))
	}
	return nil
}

func printFinding(w io.Writer, f *verify.Finding) {
	at := f.File
	if f.At >= 0 {
		at += fmt.Sprintf(" at %d", f.At)
	}
	if f.Topic != "" && !strings.Contains(f.File, "/"+f.Topic+"/") {
		at += fmt.Sprintf(" (%s/%d, offset %d)", f.Topic, f.Queue, f.Offset)
	}
	fmt.Fprintf(w, "%-11s %-16s %s: %s\n", f.Level, f.Kind, at, f.Text)
}

func (v *verified) print(w io.Writer) {
	if v.Omitted > 0 {
		fmt.Fprintf(w, "... and %d more (--limit 0 shows all)\n", v.Omitted)
	}
	fmt.Fprintf(w, "looked at: %d records from %d to %d, %d queues with %d entries, %d index files with %d entries, %d timers in %d units, %d compacted records, %d files of config\n",
		v.Records, v.LogMin, v.LogEnd, v.Queues, v.Entries, v.IndexFiles, v.IndexEntries, v.TimerPending, v.TimerUnits, v.Compacted, v.ConfigFiles)
	for _, s := range v.Skipped {
		fmt.Fprintf(w, "not looked at: %s\n", s)
	}
	if notes := v.Levels[verify.Note]; v.Sound && notes > 0 {
		fmt.Fprintf(w, "sound; %d notes\n", notes)
	} else if v.Sound {
		fmt.Fprintln(w, "sound")
	} else {
		fmt.Fprintf(w, "%d of damage, %d recoverable, %d notes\n", v.Levels[verify.Damage], v.Levels[verify.Recoverable], notes)
	}
}

// meter tells on a terminal how far something long has come: nothing within the first second, then a line each second at most.
type meter struct {
	w           io.Writer
	what        string
	now         func() time.Time
	begun, last time.Time
}

func newMeter(w io.Writer, what string, now func() time.Time) *meter {
	t := now()
	return &meter{w: w, what: what, now: now, begun: t, last: t}
}

func (m *meter) at(done, total int64) {
	now := m.now()
	if now.Sub(m.last) < time.Second || done <= 0 || total <= 0 {
		return
	}
	m.last = now
	took := now.Sub(m.begun)
	left := time.Duration(float64(took) * float64(total-done) / float64(done)).Round(time.Second)
	fmt.Fprintf(m.w, "%s: %d of %d MiB, %d %%, at most %v to go\n", m.what, done>>20, total>>20, done*100/total, left)
}
