package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"
)

// Command is `apogee bench`.
func Command() *cli.Command {
	return &cli.Command{
		Name:  "bench",
		Usage: "make load on a broker and measure it",
		Description: `Examples:
  apogee bench send -n 127.0.0.1:9876                           16 connections with 64 sends in flight each
  apogee bench send -n 127.0.0.1:9876 --connections 1 --in-flight 1
  apogee bench batch -n 127.0.0.1:9876 --batch 32
  apogee bench send -n 127.0.0.1:9876 --rate 100000             the same at a fixed rate: open loop, delays from the intended time
  apogee bench pull -n 127.0.0.1:9876 --fill 400000             send that many, then drain them
  apogee bench latency -n 127.0.0.1:9876 --rate 10000           open loop, with long-polling consumers

Delays are percentiles up to 99.99 and the maximum. When the broker runs on this machine, its processor time per message is measured too.`,
		Subcommands: []*cli.Command{
			bareCommand(), routeCommand(), idleCommand(), topicsCommand(),
			churnCommand("churn", "connections that are made for one heartbeat each", Churn),
			churnCommand("churn-send", "connections that are made for one send each", ChurnSend),
			subcommand("send", "single sends, as many at once as asked for, or at a fixed rate", sendOrPace, append(sendFlags(),
				&cli.IntFlag{Name: "rate", Usage: "send `MESSAGES` a second whatever the broker does (open loop); --in-flight, --topics and --count do not apply"})),
			subcommand("batch", "sends of several messages at once", Batch, append(sendFlags(), batchFlag(32, "messages in a batch"))),
			subcommand("transaction", "half messages, each committed as soon as it is stored", Transactions, sendFlags()),
			subcommand("pop", "drain a topic by pop and acknowledge each message", Pop, []cli.Flag{
				connections(4), bodyFlag(), batchFlag(32, "messages in a pop at most"),
				&cli.Int64Flag{Name: "fill", Value: 100_000, Usage: "send messages first until the topic has `N`"},
				&cli.BoolFlag{Name: "batch-ack", Usage: "acknowledge what a queue has brought with one request"},
			}),
			subcommand("pull", "drain a topic from its first message on", Pull, []cli.Flag{
				connections(4), bodyFlag(), batchFlag(32, "messages in a pull at most"),
				&cli.Int64Flag{Name: "fill", Usage: "send messages first until the topic has `N`"},
				&cli.StringFlag{Name: "sql", Usage: "subscribe with this SQL92 `EXPRESSION`"},
				&cli.StringSliceFlag{Name: "property", Usage: "give the messages that are sent first a property `KEY=VALUE`"},
				&cli.DurationFlag{Name: "duration", Usage: "stop after `TIME` even if messages are left"},
			}),
			subcommand("latency", "sends at a fixed rate whatever the broker does, and their delivery to long-polling consumers", LatencyRun, []cli.Flag{
				connections(4), bodyFlag(), batchFlag(32, "messages in a pull at most"), durationFlag(), warmupFlag(), waitFlag(), keysFlag(),
				&cli.IntFlag{Name: "rate", Value: 1000, Usage: "`MESSAGES` a second"},
				&cli.Int64Flag{Name: "count", Usage: "instead of a rate, `N` messages as fast as --in-flight lets them, measured until all are delivered"},
				&cli.IntFlag{Name: "in-flight", Aliases: []string{"i"}, Value: 64, Usage: "with --count: requests without answer on a connection `N`"},
				&cli.IntFlag{Name: "consumers", Usage: "number of connections `N` that pull; 0: as many as send"},
				&cli.IntFlag{Name: "delay-level", Usage: "delay each message by `LEVEL`; delays of delivery count from when it is due, which --delay says"},
				&cli.DurationFlag{Name: "delay", Usage: "what the level delays by"},
				&cli.BoolFlag{Name: "send-back", Usage: "consumers send each message back once, with the delay level"},
			}),
		},
	}
}

func connections(n int) cli.Flag {
	return &cli.IntFlag{Name: "connections", Aliases: []string{"c"}, Value: n, Usage: "number of connections `N`"}
}

func bodyFlag() cli.Flag {
	return &cli.IntFlag{Name: "body", Aliases: []string{"b"}, Value: 1024, Usage: "`BYTES` of a message's body"}
}

func batchFlag(n int, usage string) cli.Flag {
	return &cli.IntFlag{Name: "batch", Value: n, Usage: usage + " `N`"}
}

func durationFlag() cli.Flag {
	return &cli.DurationFlag{Name: "duration", Aliases: []string{"d"}, Value: 10 * time.Second, Usage: "measure for `TIME`"}
}

func warmupFlag() cli.Flag {
	return &cli.DurationFlag{Name: "warmup", Value: 2 * time.Second, Usage: "make load for `TIME` before measuring"}
}

func waitFlag() cli.Flag {
	return &cli.BoolFlag{Name: "wait", Value: true, Usage: "ask the broker to answer only when its flush policy is satisfied"}
}

func keysFlag() cli.Flag {
	return &cli.BoolFlag{Name: "keys", Usage: "give each message an index key besides its unique one"}
}

func sendFlags() []cli.Flag {
	return []cli.Flag{
		connections(16), bodyFlag(), durationFlag(), warmupFlag(), waitFlag(), keysFlag(),
		&cli.IntFlag{Name: "in-flight", Aliases: []string{"i"}, Value: 64, Usage: "requests without answer on a connection `N`"},
		&cli.IntFlag{Name: "topics", Value: 1, Usage: "use `N` topics in turn"},
		&cli.Int64Flag{Name: "count", Usage: "end after `N` messages"},
		&cli.StringFlag{Name: "slave", Usage: "`ADDRESS` of the broker's slave on this machine: its processor time counts too, and it has to get everything"},
	}
}

func common() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "namesrv", Aliases: []string{"n"}, EnvVars: []string{"NAMESRV_ADDR"}, Usage: "`ADDRESS` of a name server; its only broker is used"},
		&cli.StringFlag{Name: "broker", Usage: "`NAME` of the broker at the name server, or its address host:port"},
		&cli.StringFlag{Name: "topic", Aliases: []string{"t"}, Value: "BenchTopic", Usage: "`TOPIC`; it is created"},
		&cli.IntFlag{Name: "queues", Aliases: []string{"q"}, Value: 8, Usage: "queues of the topic `N`"},
		&cli.BoolFlag{Name: "create", Value: true, Usage: "create the topic"},
		&cli.StringFlag{Name: "serialize", Value: "JSON", Usage: "header `TYPE`: JSON or ROCKETMQ"},
		&cli.IntFlag{Name: "broker-pid", Usage: "process `ID` of the broker, if it is not the one that listens on the port"},
		&cli.BoolFlag{Name: "json", Usage: "print the result as JSON"},
		&cli.BoolFlag{Name: "quiet", Usage: "no line each second"},
	}
}

// sendOrPace is Send, or with a rate a LatencyRun that nobody consumes.
func sendOrPace(ctx context.Context, o Options) (Result, error) {
	if o.Rate == 0 {
		return Send(ctx, o)
	}
	o.Groups = -1
	return LatencyRun(ctx, o)
}

type runner func(context.Context, Options) (Result, error)

func subcommand(name, usage string, run runner, flags []cli.Flag) *cli.Command {
	return &cli.Command{
		Name: name, Usage: usage, Flags: append(common(), flags...),
		Action: func(c *cli.Context) error {
			if c.NArg() > 0 {
				return fmt.Errorf("unexpected argument %q", c.Args().First())
			}
			ctx, stop := signal.NotifyContext(c.Context, syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			o, err := optionsOf(ctx, c)
			if err != nil {
				return err
			}
			res, err := run(ctx, o)
			if res.Messages == 0 && err != nil {
				return err
			}
			return finish(c.App.Writer, c.Bool("json"), &res, err)
		},
	}
}

func optionsOf(ctx context.Context, c *cli.Context) (Options, error) {
	s, err := ParseSerialization(c.String("serialize"))
	if err != nil {
		return Options{}, err
	}
	o := Options{
		Topic: c.String("topic"), Topics: c.Int("topics"), Queues: c.Int("queues"), Create: c.Bool("create"), Group: "bench_consumer",
		Connections: c.Int("connections"), InFlight: max(1, c.Int("in-flight")), Body: c.Int("body"), Batch: max(1, c.Int("batch")),
		Wait: c.Bool("wait"), Keys: c.Bool("keys"), Serialization: s, Warmup: c.Duration("warmup"), Duration: c.Duration("duration"),
		Count: c.Int64("count"), Fill: c.Int64("fill"), Rate: c.Int("rate"), PID: c.Int("broker-pid"),
		Consumers: c.Int("consumers"), BatchAck: c.Bool("batch-ack"), SQL: c.String("sql"), Level: c.Int("delay-level"), After: c.Duration("delay"), Back: c.Bool("send-back"), Slave: c.String("slave"),
	}
	for _, p := range c.StringSlice("property") {
		key, value, ok := strings.Cut(p, "=")
		if !ok || strings.ContainsAny(p, "\x01\x02") {
			return o, fmt.Errorf("property %q: it has to be KEY=VALUE", p)
		}
		o.Properties += key + "\x01" + value + "\x02"
	}
	if !c.Bool("quiet") {
		o.Progress = c.App.ErrWriter
	}
	o.Broker, err = brokerOf(ctx, c.String("namesrv"), c.String("broker"))
	return o, err
}

func finish(w io.Writer, asJSON bool, res *Result, err error) error {
	if asJSON {
		e := json.NewEncoder(w)
		e.SetIndent("", " ")
		if jsonErr := e.Encode(res); jsonErr != nil {
			return jsonErr
		}
	} else if printErr := res.Print(w); printErr != nil {
		return printErr
	}
	if err == nil && res.Failed() > 0 && res.Messages == 0 {
		return fmt.Errorf("no request succeeded: %s", res.FirstErr)
	}
	return err
}
