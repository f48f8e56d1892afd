package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"apogee/compat/properties"
)

// serverFlags are what name server, broker and standalone have in common; the long names of what Java has are Java's.
func serverFlags() []cli.Flag {
	return append([]cli.Flag{
		&cli.StringFlag{Name: "configFile", Aliases: []string{"c"}, Usage: "properties `FILE` with Java's keys"},
		&cli.StringSliceFlag{Name: "D", Usage: "set one key, over the file, or a Java system property, below it: -D `KEY=VALUE`"},
		&cli.BoolFlag{Name: "printConfigItem", Aliases: []string{"p"}, Usage: "print all settings with their values, and exit"},
		profileFlag(),
	}, logFlags()...)
}

// namesrvFlag is -n.
func namesrvFlag() cli.Flag {
	return &cli.StringFlag{
		Name: "namesrvAddr", Aliases: []string{"n"},
		Usage: "name servers, `ADDRS` as '192.0.2.1:9876;192.0.2.2:9876'; over file and environment (NAMESRV_ADDR)",
	}
}

// defaultTLSFile is where Java looks for tls.* settings when tls.config.file names no other place.
const defaultTLSFile = "/etc/rocketmq/tls.properties"

// readSettings lays the sources over each other in Java's order: environment, Java's system properties, file, -n. Keys given by -D,
// which Java has no counterpart for, win over the file like -n. tls.* settings come from the file that tls.config.file names as well.
func readSettings(c *cli.Context, env func(string) (string, bool)) (*properties.File, error) {
	var options []string
	for _, name := range []string{"JAVA_OPT", "JAVA_OPT_EXT"} {
		text, _ := env(name)
		options = append(options, properties.JavaOptions(text)...)
	}
	var high []string
	for _, item := range c.StringSlice("D") {
		if name, _, _ := strings.Cut(item, "="); properties.IsSystemProperty(name) {
			options = append(options, item)
		} else {
			high = append(high, item)
		}
	}
	low := properties.Merge("", properties.FromEnvironment(env), properties.FromSystemProperties(options))
	var file *properties.File
	if path := c.String("configFile"); path != "" {
		var err error
		if file, err = readProperties(path); err != nil {
			return nil, err
		}
	}
	both := properties.Merge("", low, file)
	tls, err := readTLS(both)
	if err != nil {
		return nil, err
	}
	flags := properties.New("option -n")
	if addrs := c.String("namesrvAddr"); addrs != "" {
		flags.Set("namesrvAddr", addrs)
	}
	return properties.Merge("", low, tls, file, properties.FromSystemProperties(high), flags), nil
}

func readProperties(path string) (*properties.File, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return properties.Parse(path, text)
}

// readTLS reads the tls.* settings of the TLS file. The default one may be missing; one that is named may not.
func readTLS(settings *properties.File) (*properties.File, error) {
	path, named := settings.Get("tls.config.file")
	if !named {
		path = defaultTLSFile
	}
	all, err := readProperties(path)
	if errors.Is(err, fs.ErrNotExist) && !named {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("tls.config.file: %w", err)
	}
	return all.Filter(func(key string) bool { return strings.HasPrefix(key, "tls.") }), nil
}

// bind fills the configuration structs of a server from its settings and warns of what has no effect.
func bind(server properties.Server, settings *properties.File, targets ...any) (warn func(*slog.Logger), err error) {
	report, err := properties.Bind(settings, targets...)
	if err != nil {
		return nil, exit(exitFailure, err)
	}
	return func(log *slog.Logger) {
		for _, w := range report.Warnings(server) {
			log.Warn("setting without effect", "at", w.Entry.Where(), "key", w.Entry.Key, "value", w.Entry.Value, "why", w.Reason)
		}
	}, nil
}

// checkNameServers refuses a list of name servers that cannot be one, in Java's words and with its exit code.
func checkNameServers(list string) error {
	for addr := range strings.SplitSeq(list, ";") {
		if addr = strings.TrimSpace(addr); addr == "" {
			continue
		}
		if _, port, err := net.SplitHostPort(addr); err != nil || port == "" {
			return exit(exitConfig, fmt.Errorf(
				`The Name Server Address[%s] illegal, please set it as follows, "127.0.0.1:9876;192.168.0.1:9876"`, list))
		}
	}
	return nil
}
