package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"os/signal"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"
)

// bareCommand is `apogee bench bare`.
func bareCommand() *cli.Command {
	return &cli.Command{
		Name: "bare", Usage: "what this machine can do by itself: appends with and without sync, one at a time and in groups, and a tail's system calls",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "dir", Value: ".", Usage: "`FOLDER` on the disk to be measured"}, bodyFlag(),
			&cli.DurationFlag{Name: "duration", Aliases: []string{"d"}, Value: 3 * time.Second, Usage: "measure each for `TIME`"},
			&cli.BoolFlag{Name: "json", Usage: "print the results as JSON"},
		},
		Action: func(c *cli.Context) error {
			ctx, stop := signal.NotifyContext(c.Context, syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			all, err := Bare(ctx, c.String("dir"), c.Int("body"), c.Duration("duration"))
			if err != nil {
				return err
			}
			if c.Bool("json") {
				e := json.NewEncoder(c.App.Writer)
				e.SetIndent("", " ")
				return e.Encode(all)
			}
			for i := range all {
				r := &all[i]
				delay, what := r.Send, fmt.Sprintf("%.3f us a KiB, ", r.CPUPerKiB())
				if delay == nil {
					delay, what = r.Delivery, "" // a tail's bytes are not its cost
				}
				if _, err := fmt.Fprintf(c.App.Writer, "%s\n  %s/s, %.2f us CPU each, %sp50 %s  p99 %s  max %s\n", r.Settings, group(int64(r.Rate)), r.BrokerCPU,
					what, ms(delay.P50), ms(delay.P99), ms(delay.Maximum)); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// Bare runs each of the bare loops.
func Bare(ctx context.Context, dir string, recordSize int, d time.Duration) ([]Result, error) {
	var out []Result
	for _, l := range []struct {
		run func(context.Context, BareOptions) (Result, error)
		o   BareOptions
	}{
		{BareSync, BareOptions{Record: recordSize, Group: 1}},
		{BareSync, BareOptions{Record: recordSize, Group: 64}},
		{BareSync, BareOptions{Record: recordSize, Group: 1024}},
		{BareAppend, BareOptions{Record: 64 << 10, Group: 1, Warm: true}},
		{BareAppend, BareOptions{Record: 64 << 10, Group: 1}},
	} {
		l.o.Dir, l.o.Duration = dir, d
		res, err := l.run(ctx, l.o)
		if err != nil {
			return out, err
		}
		out = append(out, res)
	}
	for _, o := range []TailOptions{{Rate: 1_000}, {Rate: 10_000}, {Rate: 10_000, Pause: 330 * time.Microsecond}} {
		o.Dir, o.Duration = dir, d
		res, err := BareTail(ctx, o)
		if err != nil {
			return out, err
		}
		out = append(out, res)
	}
	return out, nil
}

// routeCommand is `apogee bench route`.
func routeCommand() *cli.Command {
	cmd := subcommand("route", "route queries to a name server, which --broker is the address of here", Route, []cli.Flag{
		connections(16), durationFlag(), warmupFlag(),
		&cli.IntFlag{Name: "in-flight", Aliases: []string{"i"}, Value: 64, Usage: "requests without answer on a connection `N`"},
		&cli.IntFlag{Name: "topics", Value: 1000, Usage: "ask for `N` topics in turn"},
	})
	return cmd
}

func churnCommand(name, usage string, run runner) *cli.Command {
	return subcommand(name, usage, run, []cli.Flag{connections(4), durationFlag(), warmupFlag(), waitFlag(), bodyFlag()})
}

// topicsCommand is `apogee bench topics`.
func topicsCommand() *cli.Command {
	return subcommand("topics", "create topics one after the other", CreateTopics, []cli.Flag{
		&cli.Int64Flag{Name: "count", Value: 100, Usage: "create `N` topics"},
		&cli.Int64Flag{Name: "fill", Usage: "their numbers begin with `N`"},
	})
}

// idleCommand is `apogee bench idle`.
func idleCommand() *cli.Command {
	return &cli.Command{
		Name: "idle", Usage: "hold connections that do nothing but heartbeats",
		Flags: append(common(), connections(10000),
			&cli.DurationFlag{Name: "every", Value: 30 * time.Second, Usage: "`TIME` between the heartbeats of a connection"},
			&cli.DurationFlag{Name: "hold", Value: 40 * time.Second, Usage: "hold them for `TIME` before measuring"}),
		Action: func(c *cli.Context) error {
			ctx, stop := signal.NotifyContext(c.Context, syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			o := IdleOptions{
				PID: c.Int("broker-pid"), Connections: c.Int("connections"), Group: "bench_producer", Every: c.Duration("every"),
				Hold: c.Duration("hold"),
			}
			if !c.Bool("quiet") {
				o.Progress = c.App.ErrWriter
			}
			var err error
			if o.Broker, err = brokerOf(ctx, c.String("namesrv"), c.String("broker")); err != nil {
				return err
			}
			res, err := Idle(ctx, o)
			if err != nil {
				return err
			}
			if c.Bool("json") {
				e := json.NewEncoder(c.App.Writer)
				e.SetIndent("", " ")
				return e.Encode(res)
			}
			return res.Print(c.App.Writer)
		},
	}
}
