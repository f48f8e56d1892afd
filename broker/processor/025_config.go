package processor

import (
	"strings"

	"apogee/compat/fastjson"
	"apogee/compat/properties"
	"apogee/remoting"
	"apogee/remoting/code"
	"apogee/remoting/header"
)

// 025 UPDATE_BROKER_CONFIG: an operator changes configuration keys of the running broker (AdminBrokerProcessor.updateBrokerConfig;
// behaviour.md 20). The body is a properties text.
//
// Behavior:
//   - 16 and nothing applied, if one of the keys is on the black list
//   - 1 for a text or a value that cannot be read. Java ignores a bad value and answers 0; an operator who mistypes a number is better told.
//   - 0 otherwise, unknown keys included. The configuration file is rewritten with every key; its comments are gone, the old text is in .bak
//   - a changed brokerPermission reaches the routes at once
func (p *Processor) updateConfig(r *remoting.Request) {
	if len(r.Body) == 0 {
		replyOK(r)
		return
	}
	f, err := properties.Parse("request "+r.Conn().RemoteText(), r.Body)
	if err != nil {
		r.Fail(code.SystemError, "string2Properties error")
		return
	}
	black := p.cfg().BlackList()
	for _, e := range f.Entries() {
		if black[e.Key] {
			r.Fail(code.NoPermission, "Can not update config in black list.")
			return
		}
	}
	keys := make([]string, 0, len(f.Entries()))
	for _, e := range f.Entries() {
		keys = append(keys, e.Key+"="+e.Value)
	}
	p.Log.Info("configuration changed by operator", "keys", strings.Join(keys, ";"), "addr", r.Conn().RemoteText())
	replyDone(r, p.Settings.Update(f))
}

// 026 GET_BROKER_CONFIG: every key and its value (AdminBrokerProcessor.getBrokerConfig). Always 0.
func (p *Processor) brokerConfig(r *remoting.Request) {
	version := p.Settings.Version()
	r.Reply(&remoting.Reply{
		Header: &header.GetBrokerConfigResponse{Version: string(fastjson.Marshal(&version))},
		Body:   p.Settings.Text(),
	})
}
