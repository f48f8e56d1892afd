package main

import (
	"testing"

	"apogee/broker/config"
	"apogee/compat/properties"
	"apogee/compat/tlsconf"
	"apogee/namesrv"
	"apogee/store"
)

// TestKeysAreHonouredOrExplained holds the table of Java's keys against the configuration structs: every key has a field, or a
// reason why it changes nothing, and not both. So no setting is ignored in silence, and no reason outlives its cause.
func TestKeysAreHonouredOrExplained(t *testing.T) {
	targets := map[properties.Server][]any{
		properties.NameServer: {new(namesrv.Config), new(tlsconf.Config)},
		properties.Broker:     {new(config.Broker), new(store.Options), new(tlsconf.Config)},
	}
	bound := make(map[properties.Server]map[string]bool)
	for server, structs := range targets {
		fields, err := properties.Fields(structs...)
		if err != nil {
			t.Fatal(err)
		}
		bound[server] = make(map[string]bool)
		for _, f := range fields {
			bound[server][f.Key] = true
			k, ok := properties.LookupKey(f.Key)
			if !ok {
				t.Errorf("%s is no key of the Java servers", f.Key)
			} else if !k.Of(server) {
				t.Errorf("%s is no key of a %s, says the table", f.Key, server)
			}
		}
	}
	for _, k := range properties.Keys() {
		anywhere := bound[properties.NameServer][k.Name] || bound[properties.Broker][k.Name]
		switch {
		case anywhere && k.Reason != "":
			t.Errorf("%s is bound, but the table says: %s", k.Name, k.Reason)
		case !anywhere && k.Reason == "":
			t.Errorf("%s is not bound, and the table has no reason", k.Name)
		}
	}
}
