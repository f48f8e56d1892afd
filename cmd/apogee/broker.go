package main

import (
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v2"

	"apogee/broker"
	"apogee/compat/properties"
	"apogee/compat/tlsconf"
	"apogee/store"
	"apogee/store/vfs"
)

func brokerCommand() *cli.Command {
	return &cli.Command{
		Name:  "broker",
		Usage: "run a broker",
		Description: "It stores messages and serves them, on port 10911 and, for all but pulls, on 10909. Its files are in ~/store.\n\n" +
			"Examples:\n" +
			"  apogee broker -n 127.0.0.1:9876                       register with that name server\n" +
			"  apogee broker -c conf/broker.conf -n 127.0.0.1:9876   settings from a file\n" +
			"  apogee broker -D storePathRootDir=/data/store         one setting by hand\n" +
			"  apogee broker -c conf/broker.conf -p                  print all settings; -m the important ones",
		Flags: append(serverFlags(), namesrvFlag(),
			&cli.BoolFlag{Name: "printImportantConfig", Aliases: []string{"m"}, Usage: "print the important settings, and exit"}),
		Action: runBroker,
	}
}

// brokerSettings is everything that a broker is made from.
type brokerSettings struct {
	file *properties.File
	conf broker.Config
	opts store.Options
	tls  tlsconf.Config
}

// bindBroker makes a broker's configuration from its settings; path is the configuration file, "" without one.
func bindBroker(file *properties.File, path string) (b *brokerSettings, warn func(*slog.Logger), err error) {
	b = &brokerSettings{file: file}
	if warn, err = bind(properties.Broker, file, &b.conf, &b.opts, &b.tls); err != nil {
		return nil, nil, err
	}
	b.opts.Whole = true
	if path != "" {
		if b.conf.ConfigPath, err = filepath.Abs(path); err != nil {
			return nil, nil, exit(exitFailure, err)
		}
	}
	if b.conf.RootDir == "" {
		b.conf.RootDir = filepath.Join(home(), "store")
		b.opts.RootDir = b.conf.RootDir
	}
	if _, ok := file.Get("haListenPort"); !ok && b.conf.ListenPort > 0 {
		b.conf.HAPort = b.conf.ListenPort + 1
	}
	hostname, _ := os.Hostname()
	addrs, _ := net.InterfaceAddrs() // none is 127.0.0.1
	b.conf.Complete(hostname, addrs)
	return b, warn, b.check()
}

// check refuses what Java refuses at its start, with its exit codes.
func (b *brokerSettings) check() error {
	on := func(key string) bool {
		v, _ := b.file.Get(key)
		return v == "true"
	}
	if err := checkNameServers(b.conf.NameServers); err != nil {
		return err
	}
	if b.conf.Role == store.Slave && b.conf.ID <= 0 {
		return exit(exitConfig, fmt.Errorf("brokerId=%d: a slave's must be above 0", b.conf.ID))
	}
	if on("enableControllerMode") && on("enableDLegerCommitLog") {
		return exit(exitMode, fmt.Errorf("enableControllerMode and enableDLegerCommitLog exclude each other"))
	}
	return nil
}

func runBroker(c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	file, err := readSettings(c, os.LookupEnv)
	if err != nil {
		return exit(exitFailure, err)
	}
	b, warn, err := bindBroker(file, c.String("configFile"))
	if err != nil {
		return err
	}
	if done, err := printAndExit(c, c.App.Writer, properties.Broker, file, &b.conf, &b.opts, &b.tls); done {
		return err
	}
	return serve(c, "broker", func(log *slog.Logger) (server, error) {
		warn(log)
		return b.build(log)
	})
}

func (b *brokerSettings) build(log *slog.Logger) (*brokerServer, error) {
	policy, err := tlsPolicy(&b.tls, log)
	if err != nil {
		return nil, err
	}
	client, err := b.tls.Client(os.ReadFile)
	if err != nil {
		return nil, exit(exitFailure, fmt.Errorf("TLS: %w", err))
	}
	serial, name := serialization(b.file)
	s, err := broker.New(&b.conf, b.opts, broker.Env{
		FS: vfs.OS(), Now: time.Now, Log: log, Settings: b.file, TLS: policy, ClientTLS: client, Serialization: serial,
	})
	if err != nil {
		return nil, exit(exitFailure, err)
	}
	return &brokerServer{s, b.conf.Name, b.conf.NameServers, name}, nil
}

// brokerServer is a broker as serve runs it.
type brokerServer struct {
	*broker.Broker
	name, nameServers, serializeType string
}

func (b *brokerServer) Success() []string {
	line := fmt.Sprintf("The broker[%s, %s] boot success. serializeType=%s", b.name, b.Address(), b.serializeType)
	if b.nameServers != "" {
		line += " and name server is " + b.nameServers
	}
	return []string{line}
}
