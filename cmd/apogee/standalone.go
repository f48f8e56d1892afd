package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"github.com/urfave/cli/v2"

	"apogee/compat/properties"
)

func standaloneCommand() *cli.Command {
	return &cli.Command{
		Name:  "standalone",
		Usage: "run a name server and a broker in one process, with nothing to configure",
		Description: "Everything is kept in one folder. Both listen on 127.0.0.1 only, unless --host says otherwise.\n\n" +
			"Examples:\n" +
			"  apogee standalone                                 ports 9876 and 10911, data in ./apogee-data\n" +
			"  apogee standalone --data /tmp/mq --namesrv-port 19876 --broker-port 20911\n" +
			"  apogee standalone --host 192.0.2.7                reachable for other machines under that address\n" +
			"  apogee standalone -D flushDiskType=SYNC_FLUSH     any setting of the broker",
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "data", Value: "apogee-data", Usage: "`DIR` for everything that is written"},
			&cli.IntFlag{Name: "namesrv-port", Value: 9876, Usage: "`PORT` of the name server; 0 takes any"},
			&cli.IntFlag{Name: "broker-port", Value: 10911, Usage: "`PORT` of the broker; 0 takes any"},
			&cli.StringFlag{Name: "host", Value: "127.0.0.1", Usage: "`ADDRESS` to listen on, and to tell clients"},
		}, serverFlags()...),
		Action: runStandalone,
	}
}

// standalone is both servers as serve runs them. The broker is made when the name server's port is known.
type standalone struct {
	names  *nameServer
	broker *brokerServer
	make   func(namesrv string) (*brokerServer, error)
	data   string
}

func runStandalone(c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	data, err := filepath.Abs(c.String("data"))
	if err != nil {
		return exit(exitFailure, err)
	}
	// The environment is that of other servers (NAMESRV_ADDR), so it does not count here.
	given, err := readSettings(c, func(string) (string, bool) { return "", false })
	if err != nil {
		return exit(exitFailure, err)
	}
	host := c.String("host")
	names := properties.New("standalone")
	for key, value := range map[string]string{
		"bindAddress": host, "listenPort": strconv.Itoa(c.Int("namesrv-port")), "rocketmqHome": data,
		"kvConfigPath":    filepath.Join(data, "namesrv", "kvConfig.json"),
		"configStorePath": filepath.Join(data, "namesrv", "namesrv.properties"),
	} {
		names.Set(key, value)
	}
	n := &namesrvSettings{file: properties.Merge("", names, given.Filter(isTLS))}
	if _, err := bind(properties.NameServer, n.file, &n.conf, &n.tls); err != nil {
		return err
	}
	brokerFile := func(nameServers string) *properties.File {
		f := properties.New("standalone")
		f.Set("brokerName", "broker-a")
		f.Set("bindAddress", host)
		f.Set("brokerIP1", host)
		f.Set("listenPort", strconv.Itoa(c.Int("broker-port")))
		f.Set("storePathRootDir", filepath.Join(data, "store"))
		f.Set("rocketmqHome", data)
		f = properties.Merge("", f, given)
		f.Set("namesrvAddr", nameServers)
		return f
	}
	b, warn, err := bindBroker(brokerFile(net.JoinHostPort(host, strconv.Itoa(c.Int("namesrv-port")))), c.String("configFile"))
	if err != nil {
		return err
	}
	if done, err := printAndExit(c, c.App.Writer, properties.Broker, b.file, &b.conf, &b.opts, &b.tls); done {
		return err
	}
	return serve(c, "standalone", func(log *slog.Logger) (server, error) {
		warn(log)
		ns, err := n.build(log.With("server", "namesrv"), "")
		if err != nil {
			return nil, err
		}
		return &standalone{names: ns, data: data, make: func(nameServers string) (*brokerServer, error) {
			b, _, err := bindBroker(brokerFile(nameServers), c.String("configFile"))
			if err != nil {
				return nil, err
			}
			return b.build(log.With("server", "broker"))
		}}, nil
	})
}

func isTLS(key string) bool { return key == "useTLS" || len(key) > 4 && key[:4] == "tls." }

// Start brings the name server up first, so that the broker can register.
func (s *standalone) Start() error {
	if err := os.MkdirAll(s.data, 0o755); err != nil {
		return err
	}
	if err := s.names.Start(); err != nil {
		return err
	}
	var err error
	if s.broker, err = s.make(s.names.Addr().String()); err == nil {
		err = s.broker.Start()
	}
	if err != nil {
		return errors.Join(err, s.names.Shutdown(context.Background()))
	}
	return nil
}

// Shutdown ends the broker first: it takes leave of the name server.
func (s *standalone) Shutdown(ctx context.Context) error {
	return errors.Join(s.broker.Shutdown(ctx), s.names.Shutdown(ctx))
}

func (s *standalone) Success() []string {
	return append(append(s.names.Success(), s.broker.Success()...),
		"Data: "+s.data+"   Clients connect to "+s.names.Addr().String()+"   End it with ^C",
		fmt.Sprintf("Send a first message: bin/quickstart, or in Go: "+
			"rocketmq.NewProducer(producer.WithNsResolver(primitive.NewPassthroughResolver([]string{%q})))", s.names.Addr().String()))
}
