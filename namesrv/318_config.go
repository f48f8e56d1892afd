package namesrv

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"apogee/compat/properties"
	"apogee/remoting"
	"apogee/remoting/code"
)

// Requests 318 UPDATE_NAMESRV_CONFIG (settings as java.util.Properties text) and 319 GET_NAMESRV_CONFIG (all settings, key=value
// lines).
//
// Answers: SUCCESS, also for unknown keys; NO_PERMISSION (16) if one key is in configBlackList or is always refused, and then
// nothing is changed; SYSTEM_ERROR for a value that cannot be read (Java keeps the old value and answers SUCCESS) or when the file
// cannot be written. An update without a body is a SUCCESS that changes nothing.
//
// All settings are then written to configStorePath, the content before to its .bak. Which ones take effect at once says [Config].
//
// Checked against DefaultRequestProcessor and Configuration.

var errNoConfigPath = errors.New("no configStorePath to write the configuration to")

func (s *Server) updateConfig(r *remoting.Request) {
	if len(r.Body) == 0 {
		reply(r, nil, nil)
		return
	}
	update, err := properties.Parse("update from "+remoteText(r), bytes.Clone(r.Body))
	if err != nil {
		r.Fail(code.SystemError, "string2Properties error: %v", err)
		return
	}
	for _, e := range update.Entries() {
		if s.conf.Load().blackListed(e.Key) {
			r.Fail(code.NoPermission, "Can not update config in black list.")
			return
		}
	}
	if err := s.applyConfig(update); err != nil {
		s.fail(r, err)
		return
	}
	s.log.Info("configuration updated", "addr", remoteText(r), "settings", update.Len())
	reply(r, nil, nil)
}

// applyConfig changes a copy of the configuration, writes that to its file and puts it into effect.
func (s *Server) applyConfig(update *properties.File) error {
	s.confMu.Lock()
	defer s.confMu.Unlock()
	cfg := *s.conf.Load()
	if _, err := properties.Apply(update, &cfg); err != nil {
		return err
	}
	if cfg.ConfigStorePath == "" {
		return errNoConfigPath
	}
	source := properties.Merge(cfg.ConfigStorePath, s.source, update)
	settings, err := properties.Settings(properties.NameServer, source, &cfg)
	if err != nil {
		return err
	}
	if err := writeFile(s.deps.FS, cfg.ConfigStorePath, settings.Format()); err != nil {
		return fmt.Errorf("write the configuration: %w", err)
	}
	s.source = source
	s.conf.Store(&cfg)
	s.topology.changes.Add(1) // some settings show in routes
	return nil
}

func (s *Server) getConfig(r *remoting.Request) {
	s.confMu.Lock()
	source := s.source
	s.confMu.Unlock()
	settings, err := properties.Settings(properties.NameServer, source, s.conf.Load())
	if err != nil {
		s.fail(r, err)
		return
	}
	var text bytes.Buffer
	for _, e := range settings.Entries() {
		if strings.HasPrefix(e.Key, "tls.") {
			continue // Java shows none of them, and one is a password
		}
		text.WriteString(e.Key + "=" + e.Value + "\n") // unescaped, as in Java
	}
	reply(r, nil, text.Bytes())
}
