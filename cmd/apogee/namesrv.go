package main

import (
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"apogee/compat/properties"
	"apogee/compat/tlsconf"
	"apogee/namesrv"
	"apogee/store/vfs"
)

func namesrvCommand() *cli.Command {
	return &cli.Command{
		Name:  "namesrv",
		Usage: "run a name server",
		Description: "Brokers register their topics with it, clients ask it where a topic is. It listens on port 9876.\n\n" +
			"Examples:\n" +
			"  apogee namesrv                            everything by default\n" +
			"  apogee namesrv -c conf/namesrv.conf       settings from a file\n" +
			"  apogee namesrv -D listenPort=19876        one setting by hand\n" +
			"  apogee namesrv -p                         print all settings",
		Flags:  append(serverFlags(), namesrvFlag()),
		Action: runNamesrv,
	}
}

// namesrvSettings is everything that a name server is made from.
type namesrvSettings struct {
	file *properties.File
	conf namesrv.Config
	tls  tlsconf.Config
}

func runNamesrv(c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	file, err := readSettings(c, os.LookupEnv)
	if err != nil {
		return exit(exitFailure, err)
	}
	n := &namesrvSettings{}
	upstream, _ := file.Get("namesrvAddr")
	// -n and NAMESRV_ADDR are for other servers; here they only name those that clusterTest asks.
	n.file = file.Filter(func(key string) bool { return key != "namesrvAddr" })
	warn, err := bind(properties.NameServer, n.file, &n.conf, &n.tls)
	if err != nil {
		return err
	}
	n.conf.FillPaths(home())
	if path := c.String("configFile"); path != "" {
		if n.conf.ConfigStorePath, err = filepath.Abs(path); err != nil {
			return exit(exitFailure, err)
		}
	}
	if done, err := printAndExit(c, c.App.Writer, properties.NameServer, n.file, &n.conf, &n.tls); done {
		return err
	}
	if path := c.String("configFile"); path != "" {
		fmt.Fprintf(c.App.Writer, "load config properties file OK, %s\n", path)
	}
	return serve(c, "namesrv", func(log *slog.Logger) (server, error) {
		warn(log)
		return n.build(log, upstream)
	})
}

func (n *namesrvSettings) build(log *slog.Logger, upstream string) (*nameServer, error) {
	policy, err := tlsPolicy(&n.tls, log)
	if err != nil {
		return nil, err
	}
	client, err := n.tls.Client(os.ReadFile)
	if err != nil {
		return nil, exit(exitFailure, fmt.Errorf("TLS: %w", err))
	}
	s, err := namesrv.New(n.conf, namesrv.Deps{
		FS: vfs.OS(), Now: time.Now, Log: log, TLS: policy, ClientTLS: client, Source: n.file,
		Upstream: func() []string { return strings.Split(upstream, ";") },
	})
	if err != nil {
		return nil, exit(exitFailure, err)
	}
	_, name := serialization(n.file)
	return &nameServer{s, name}, nil
}

// nameServer is a name server as serve runs it.
type nameServer struct {
	*namesrv.Server
	serializeType string
}

func (n *nameServer) Success() []string {
	// The address as configured, like Java, but with the port that is really open.
	_, port, _ := net.SplitHostPort(n.Addr().String())
	return []string{fmt.Sprintf("The Name Server boot success. serializeType=%s, address %s",
		n.serializeType, net.JoinHostPort(n.Config().BindAddress, port))}
}
