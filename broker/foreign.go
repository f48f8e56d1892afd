package broker

import (
	"errors"
	"strings"

	"apogee/store/foreign"
)

// refuseForeign ends the start where the directory, or the configuration, asks for what is not in files. It comes before the directory
// is locked, so that nothing is written there.
func (b *Broker) refuseForeign() error {
	on := func(key string) bool {
		v, _ := b.env.Settings.Get(key)
		return strings.EqualFold(strings.TrimSpace(v), "true")
	}
	if on("enableDLegerCommitLog") {
		return errors.New("enableDLegerCommitLog=true: a DLedger group is not supported, and a broker that does not replicate would look like one that does")
	}
	if on("enableControllerMode") {
		return errors.New("enableControllerMode=true: controller mode is not supported, and two brokers of a name that no controller tells apart would both be masters")
	}
	found, err := foreign.Check(foreign.Place{
		FS: b.env.FS, Root: b.storeOpts.RootDir, Log: b.storeOpts.CommitLogDir, Setting: b.env.Settings.Get,
	})
	for _, f := range found {
		b.env.Log.Warn("not read: it stands in files as well", "path", f.Path, "holds", f.Holds)
	}
	return err
}
