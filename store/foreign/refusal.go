package foreign

import (
	"fmt"
	"path"
	"strings"
)

// Refusal is the error of a directory that must not be opened. Its text names what was found and the steps that lead out, for the
// one who started the broker.
type Refusal struct {
	Root     string
	Findings []Finding
}

func (r *Refusal) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s is not opened: it holds what is not in files, and would look emptier than it is. Nothing was changed.\n", r.Root)
	for _, f := range r.Findings {
		fmt.Fprintf(&b, "  found %s: %s\n", path.Join(r.Root, f.Path), f.Holds)
	}
	for _, s := range Steps(r.Root, r.Findings) {
		fmt.Fprintf(&b, "\n%s\n", s)
	}
	return strings.TrimRight(b.String(), "\n")
}

// Steps are what to do about findings, one text for each kind that bars, in the order in which they are to be done.
func Steps(root string, findings []Finding) []string {
	has := map[Kind][]string{}
	for _, f := range findings {
		if f.Bars {
			has[f.Kind] = append(has[f.Kind], f.Path)
		}
	}
	var out []string
	for _, k := range []Kind{Unfinished, DLedger, Tiered, RocksPop, RocksMessages, RocksConfigV2, RocksConfig, RocksQueues} {
		if paths := has[k]; len(paths) > 0 {
			out = append(out, strings.NewReplacer("$ROOT", root, "$PATHS", strings.Join(paths, " ")).Replace(steps[k]))
		}
	}
	return out
}

// aside is the folder, below the root, that the steps move databases to. Nothing is deleted by them.
const aside = "$ROOT/rocksdb-aside"

var steps = map[Kind]string{
	Unfinished: `A copy to this directory was begun by "apogee store migrate" and has not been finished. Run the same command again: it goes on
where it stopped. Or begin anew in an empty directory.`,

	DLedger: `A log of DLedger (enableDLegerCommitLog) cannot be turned into a plain one: each record is wrapped, and all offsets differ. Move the
messages over instead:
  1. Start Apogee on an empty directory, as another broker of the same cluster (another brokerName, the same name servers).
  2. mqadmin wipeWritePerm -b OLD_BROKER_NAME -n NAMESRV     producers go to the new broker; consumers read both
  3. mqadmin brokerConsumeStats -b OLD_BROKER_ADDR -n NAMESRV     until no group has messages left (diff 0)
  4. Stop the old brokers.`,

	Tiered: `Messages older than the local ones were moved to another storage (messageStorePlugIn), which Apogee does not read. The local ones are whole.
  1. With the Java broker: mqadmin brokerConsumeStats -b BROKER_ADDR -n NAMESRV     until all groups have passed what is not local any more.
  2. Stop it. mkdir -p $ROOT/tiered-aside && mv $ROOT/config/tieredStoreMetadata.json* $ROOT/tiered-aside/
  3. Take messageStorePlugIn and tieredStorageLevel out of broker.conf, and start Apogee.
Whoever does not need the older messages begins with step 2.`,

	RocksPop: `Messages that were popped and not acknowledged are known to the RocksDB service only (popConsumerKVServiceEnable): they would never come
back.
  1. With the Java broker running: mqadmin exportPopRecord -b BROKER_ADDR     moves them to the revive topic, which Apogee reads.
  2. Set popConsumerKVServiceEnable=false in broker.conf, and stop the broker.
  3. mkdir -p ` + aside + ` && mv $ROOT/kvStore ` + aside + `/`,

	RocksMessages: `What $ROOT/$PATHS holds depends on the keys that were set: timers (timerRocksDBEnable), half messages (transRocksDBEnable), an
index of keys (indexRocksDBEnable).
  1. With the Java broker running: mqadmin switchTimerEngine -b BROKER_ADDR -e F     if timerRocksDBEnable was set; wait until the timers are over, or
     at least 48 hours.
  2. If transRocksDBEnable was set: set it to false, start the Java broker again, and wait until producers have ended their transactions.
  3. Stop the broker. mkdir -p ` + aside + ` && mv $ROOT/rocksdbstore ` + aside + `/
Where only indexRocksDBEnable was set, step 3 is all: the index is in files for what is stored from then on.`,

	RocksConfigV2: `Topics, groups and offsets are in RocksDB in their second form (configManagerVersion=v2), which no tool of Java's exports.
  1. With the Java broker running: mqadmin exportMetadata -c CLUSTER -n NAMESRV -f FOLDER     for the topics and groups,
     and mqadmin consumerProgress -n NAMESRV     for the offsets.
  2. Stop it; take configManagerVersion out of its configuration, start it, and make topics and groups again (mqadmin updateTopic, updateSubGroup) and
     set the offsets (mqadmin resetOffsetByTime). Stop it.
  3. mkdir -p ` + aside + ` && mv $ROOT/config/rdb ` + aside + `/`,

	RocksConfig: `Topics, groups and consumer offsets are in RocksDB (storeType=defaultRocksDB). Java's tool writes them as files:
  1. Stop the Java broker.
  2. mqadmin rocksDBConfigToJson -p $ROOT/config -t topics -e $ROOT/config/topics.json
     mqadmin rocksDBConfigToJson -p $ROOT/config -t subscriptionGroups -e $ROOT/config/subscriptionGroup.json
     mqadmin rocksDBConfigToJson -p $ROOT/config -t consumerOffsets -e $ROOT/config/consumerOffset.json
  3. mkdir -p ` + aside + ` && (cd $ROOT && mv $PATHS rocksdb-aside/)
If files of these names were in use after the databases (storeType=default since then), step 3 is all.`,

	RocksQueues: `The consume queues are in RocksDB (storeType=defaultRocksDB). They can be built again from the commit log, which has the offset of each
message:
  1. Stop the Java broker.
  2. mkdir -p ` + aside + ` && (cd $ROOT && mv $PATHS rocksdb-aside/)
  3. Take storeType out of broker.conf, and start Apogee: it reads the whole commit log once.
Do so only if both of the following are true:
  - No topic was deleted and made again while messages of the first one are still in the log: those would come first again.
  - No queue has lost all of its messages to age: its offsets would begin at 0 again, and its consumers' offsets are ahead of that.
Otherwise move the messages over: start Apogee on an empty directory as another broker of the cluster (another brokerName); then run
"mqadmin wipeWritePerm -b OLD_BROKER_NAME -n NAMESRV", wait until "mqadmin brokerConsumeStats -b OLD_BROKER_ADDR" says diff 0, and stop the old one.
(Writing both kinds of queues, rocksdbCQDoubleWriteEnable, is no way out: Java 5.5.0 does not start with it on such a directory.)`,
}
