package doctor

import (
	"errors"
	"fmt"
	"io/fs"

	"apogee/store"
	"apogee/store/inspect"
)

// replication says as what of a group of brokers the directory is opened, and what of replication there is not yet.
func (p *patient) replication() {
	role := "a master: slaves, Apogee's or Java's, copy its log"
	if p.Conf.BrokerRole == store.Slave {
		role = "a slave: it copies its master's log, which has to begin with what is here; an Apogee master makes sure of that, a Java master does not (apogee replica rebuild copies all anew)"
	}
	if p.on("enableSlaveActingMaster") {
		role += "; with enableSlaveActingMaster the lowest slave that is alive does the master's work while that is away"
	}
	p.add(Info, "replication", "", "opened as %s", role)
	if p.on("enableControllerMode") {
		p.add(Bad, "replication", "set enableControllerMode=false, and say by brokerRole and brokerId which one is the master",
			"enableControllerMode=true: there are masters, slaves and acting slaves, but no controller mode yet; each replica would take the brokerRole of its file")
	}
	if p.on("enableDLegerCommitLog") {
		p.add(Bad, "replication", "", "enableDLegerCommitLog=true is not supported: a broker does not start with it")
	}
	if p.there("epochFileCheckpoint") || p.there("brokerIdentity") {
		p.add(Warn, "controller mode", "open the replica of the newest epoch (apogee store inspect DIR/epochFileCheckpoint), and let the others begin on empty directories; so they must on the way back",
			"the directory is a replica's in controller mode, which there is not yet: the files of it stay as they are, no epochs are written, and the broker is a master or slave as brokerRole says")
	}
}

// damaged tells of parts of the log that are known to be damaged, which a Java broker knows nothing of.
func (p *patient) damaged() error {
	text, err := fs.ReadFile(p.Root, inspect.DamagedFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	parts, err := inspect.ParseDamaged(text)
	if err != nil {
		p.add(Warn, "damaged parts", "", "%v: damaged messages are found again when they are read", err)
		return nil
	}
	open, bodies := 0, 0
	for _, d := range parts {
		switch rec, err := p.s.Reader(d.From).Next(); {
		case err != nil || rec.PhysicalOffset != d.From:
			open++
		case rec.Fault != nil:
			bodies++
		}
	}
	known := fmt.Sprintf("%d parts of the log are noted as damaged: Apogee leaves them out", len(parts))
	switch {
	case open > 0:
		p.add(Warn, "damaged parts", "run apogee store repair --apply ahead of giving it back to Java",
			"%s; %d of them are not wrapped: a Java broker whose recovery comes there ends the log, and deletes what is behind", known, open)
	case bodies > 0:
		p.add(Warn, "damaged parts", "", "%s; %d of them are messages with damaged bodies, which a Java broker gives out as they are", known, bodies)
	default:
		p.add(Info, "damaged parts", "", "%s, and Java steps over them", known)
	}
	return nil
}
