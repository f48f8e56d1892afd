package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"apogee/compat/body"
	"apogee/compat/fastjson"
	"apogee/store"
	"apogee/store/inspect"
	"apogee/store/record"
)

// queues looks at the files of queues: at the first and last of each.
func (p *patient) queues() error {
	all, err := p.s.Queues()
	if err != nil {
		return err
	}
	var simple, batch []entry
	for _, q := range all {
		p.light = p.light || strings.HasPrefix(q.Topic, "%LMQ%")
		dir, to := "consumequeue", &simple
		if q.Batch {
			dir, to = "batchconsumequeue", &batch
		}
		files, _, err := list(p.Root, path.Join(dir, q.Topic, fmt.Sprint(q.ID)))
		if err != nil {
			return err
		}
		*to = append(*to, files...)
		if q.Fault != "" {
			p.add(Warn, "consume queues", "apogee store verify says more", "%s/%d: %s", q.Topic, q.ID, q.Fault)
		}
	}
	unit := func(n, width int64) int64 { return (n + width - 1) / width * width }
	p.sameSize("consume queues", "mappedFileSizeConsumeQueue", simple, unit(p.Conf.MappedFileSizeConsumeQueue, inspect.EntrySize))
	p.sameSize("batch queues", "mapperFileSizeBatchConsumeQueue", batch, unit(p.Conf.MapperFileSizeBatchConsumeQueue, inspect.BatchEntrySize))
	p.add(Info, "consume queues", "", "%d topics, %d queues, %d entries", p.sum.Topics, p.sum.Queues, p.sum.Messages)
	return nil
}

// indexes looks at the index files.
func (p *patient) indexes() error {
	files, _, err := list(p.Root, "index")
	if err != nil || len(files) == 0 {
		return err
	}
	want := inspect.IndexFileSize(p.Conf.MaxHashSlotNum, p.Conf.MaxIndexNum)
	var other []string
	for _, f := range files {
		if f.size != want && f.size != 0 {
			other = append(other, f.name)
		}
	}
	if len(other) > 0 {
		p.add(Bad, "index", "set maxHashSlotNum and maxIndexNum to what they were made with, or move them away: the index only serves look-ups by key",
			"%d of %d files have not the %d bytes of maxHashSlotNum=%d and maxIndexNum=%d (%s): Apogee leaves them alone and does not look into them, a Java broker misreads them",
			len(other), len(files), want, p.Conf.MaxHashSlotNum, p.Conf.MaxIndexNum, other[0])
		return nil
	}
	p.add(OK, "index", "", "%d files of %d bytes, as maxHashSlotNum and maxIndexNum say", len(files), want)
	if !p.sum.Abort || p.sum.Checkpoint == nil {
		return nil
	}
	late := 0
	for _, x := range p.sum.Indexes {
		if x.EndTime > p.sum.Checkpoint.IndexTime {
			late++
		}
	}
	if late > 0 {
		p.change("%d index files may be damaged by the crash: they are deleted, and made anew from the log in the background", late)
	}
	return nil
}

// others looks at timers and compaction logs.
func (p *patient) others() error {
	timers, _, err := list(p.Root, "timerlog")
	if err != nil {
		return err
	}
	p.sameTimers(timers)
	if info, err := fs.Stat(p.Root, "timerwheel"); err == nil {
		if info.Size() != inspect.TimerWheelSize {
			p.add(Warn, "timer wheel", "", "has %d bytes, not %d: a Java broker does not start, Apogee makes it anew", info.Size(), inspect.TimerWheelSize)
			p.change("the timer wheel is made anew from the timer log")
		} else {
			p.add(OK, "timer wheel", "", "%d slots", inspect.TimerSlots)
		}
	}
	logSize, cqSize := store.CompactionSizes(p.Conf.CompactionMappedFileSize, p.Conf.CompactionCqMappedFileSize)
	for _, kind := range []struct {
		dir, key string
		size     int64
	}{{"compaction/compactionLog", "compactionMappedFileSize", logSize}, {"compaction/compactionCq", "compactionCqMappedFileSize", cqSize}} {
		files, err := p.deep(kind.dir)
		if err != nil {
			return err
		}
		p.sameSize("compaction logs", kind.key, files, kind.size)
	}
	return nil
}

func (p *patient) sameTimers(files []entry) {
	for _, f := range files {
		if f.size != p.Timer && f.size != 0 {
			p.add(Warn, "timer log", fmt.Sprintf("set mappedFileSizeTimerLog=%d ahead of giving it back to Java", f.size),
				"files have %d bytes, mappedFileSizeTimerLog is %d: Apogee keeps the size that they have, a Java broker does not start", f.size, p.Timer)
			return
		}
	}
	if len(files) > 0 {
		p.add(OK, "timer log", "", "%d files of %d bytes", len(files), p.Timer)
	}
}

// deep is the files of topic/number below dir.
func (p *patient) deep(dir string) (out []entry, err error) {
	_, topics, err := list(p.Root, dir)
	if err != nil {
		return nil, err
	}
	for _, topic := range topics {
		_, ids, err := list(p.Root, path.Join(dir, topic))
		if err != nil {
			return nil, err
		}
		for _, id := range ids {
			files, _, err := list(p.Root, path.Join(dir, topic, id))
			if err != nil {
				return nil, err
			}
			out = append(out, files...)
		}
	}
	return out, nil
}

// on tells whether a switch of the configuration is on.
func (p *patient) on(key string) bool {
	v, _ := p.Setting(key)
	return strings.EqualFold(strings.TrimSpace(v), "true")
}

// features compares what the files show of features with the switches.
func (p *patient) features() error {
	if p.there("consumequeue_ext") {
		p.add(Warn, "queue extensions", "keep enableConsumeQueueExt for the way back to Java",
			"written with enableConsumeQueueExt: entries whose tags code is in there pass every tag filter on the broker; clients filter once more. New entries have their tags codes themselves")
	}
	lights := p.Conf.EnableLmq && p.Conf.EnableMultiDispatch
	if p.light && !lights {
		p.add(Bad, "light queues", "set enableLmq=true and enableMultiDispatch=true", "there are queues of light topics (%%LMQ%%), and without those switches new messages do not reach them")
	}
	switch lmq, plain := p.there("config/lmqConsumerOffset.json"), p.there("config/consumerOffset.json"); {
	case lmq && !lights:
		p.add(Bad, "consumer offsets", "set enableLmq=true and enableMultiDispatch=true",
			"they are in config/lmqConsumerOffset.json, which is read with enableLmq and enableMultiDispatch only: without, groups begin anew")
	case plain && !lmq && lights:
		p.add(Warn, "consumer offsets", "leave enableLmq off, or copy the file to config/lmqConsumerOffset.json",
			"they are in config/consumerOffset.json, and with enableLmq those of lmqConsumerOffset.json count")
	}
	crc, err := p.propertyCRC()
	if err != nil {
		return err
	}
	switch {
	case crc && !p.Conf.AppendPropCRC:
		p.add(Info, "property checksums", "", "the newest records have them; with enabledAppendPropCRC=false new ones do not, old ones are not checked")
	case !crc && p.Conf.ForceVerifyPropCRC && p.Conf.AppendPropCRC:
		p.add(Bad, "property checksums", "set forceVerifyPropCRC=false", "records without them are there, and forceVerifyPropCRC takes those for damaged: recovery would cut them off")
	}
	if v, ok := p.Setting("storeType"); ok && !strings.EqualFold(v, "default") {
		p.add(Bad, "storeType", "see the steps for RocksDB", "storeType=%s: Apogee keeps queues in files", v)
	}
	p.replication()
	return p.kinds()
}

// propertyCRC tells whether the newest record has a property checksum.
func (p *patient) propertyCRC() (bool, error) {
	var newest *inspect.Queue
	all, err := p.s.Queues()
	if err != nil {
		return false, err
	}
	for i := range all {
		if q := &all[i]; !q.Batch && q.Max > q.Min && (newest == nil || q.Known() > newest.Known()) {
			newest = q
		}
	}
	if newest == nil {
		return false, nil
	}
	found := false
	err = p.s.EachEntry(*newest, newest.Max-1, func(e inspect.Entry) bool {
		if rec, err := p.s.RecordAt(e); err == nil {
			found = record.Property(rec.Properties, record.PropCRC32) != ""
		}
		return false
	})
	return found, err
}

// kinds compares the kinds of queues with the attributes of topics: a Java broker does not start where they differ.
func (p *patient) kinds() error {
	text, err := fs.ReadFile(p.Root, "config/topics.json")
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	var t body.TopicConfigSerializeWrapper
	if fastjson.Unmarshal(text, &t) != nil {
		return nil // the check of files says so
	}
	all, err := p.s.Queues()
	if err != nil {
		return err
	}
	var wrong []string
	compact := false
	for _, q := range all {
		c := t.TopicConfigTable[q.Topic]
		if c == nil {
			continue
		}
		compact = compact || c.Attributes["cleanup.policy"] == "COMPACTION"
		if q.Files > 0 && (c.Attributes["queue.type"] == "BatchCQ") != q.Batch {
			wrong = append(wrong, fmt.Sprintf("%s/%d", q.Topic, q.ID))
		}
	}
	if len(wrong) > 0 {
		p.add(Warn, "kinds of queues", "move the folders of the other kind away ahead of giving it back to Java", "%s: not of the kind that the topic's queue.type says; Apogee leaves them alone, a Java broker does not start", strings.Join(wrong, ", "))
	}
	if compact && !p.Conf.EnableCompaction {
		p.add(Warn, "compaction", "set enableCompaction=true", "there are topics of cleanup.policy=COMPACTION, and without enableCompaction they are read as ordinary ones")
	}
	return nil
}

// recovery says what a start reads and changes.
func (p *patient) recovery() error {
	cp := p.sum.Checkpoint
	log := p.sum.Log
	if log.Files == 0 {
		return nil
	}
	from := log.Known
	switch {
	case !p.sum.Abort:
		p.add(Info, "start", "", "reads the log from its last known record on: up to %d bytes behind offset %d", max(log.End-from, 0), from)
	case cp != nil && cp.LogicsPhysical > 0:
		p.add(Info, "start", "", "recovers: reads the log from %d on, about %d bytes, and gives queues and index what they lack", cp.LogicsPhysical, max(log.End-cp.LogicsPhysical, 0))
	default:
		p.add(Info, "start", "", "recovers: the checkpoint names no record, so the log is read from the start of a file, at most %d bytes", log.End-log.Min)
	}
	if p.sum.Abort {
		p.change("the log ends at its last whole record, about %d; the rest of that file is cleared, later files are deleted", log.End)
		if log.Known > log.End {
			p.add(Warn, "log", "apogee store verify says more", "queues know records up to %d, the log ends at %d", log.Known, log.End)
			p.change("queue entries of records behind the end of the log are removed")
		}
	}
	if n := len(p.log); n > 0 && p.log[n-1].size == 0 {
		p.change("the empty file %s of the log is deleted", p.log[n-1].name)
	}
	p.change("abort is written at the start and deleted at a clean stop; checkpoint, queues, index and files of config are kept up to date, the texts before in .bak")
	return nil
}

// disks looks at the room on the disks.
func (p *patient) disks() error {
	usage, err := p.Usage()
	if err != nil {
		return err
	}
	for dir, u := range usage {
		percent := int(u.Ratio() * 100)
		text := fmt.Sprintf("%s is on a disk that is %d %% full, %d MiB are free", dir, percent, (u.Total-u.Used)>>20)
		switch {
		case percent > p.Conf.DiskSpaceWarningLevelRatio:
			p.add(Bad, "disk space", "make room first", "%s: messages are refused, and old files deleted whatever their age", text)
		case percent > p.Conf.DiskSpaceCleanForciblyRatio:
			p.add(Warn, "disk space", "make room first", "%s: old files are deleted whatever their age (diskSpaceCleanForciblyRatio=%d)", text, p.Conf.DiskSpaceCleanForciblyRatio)
		case percent > p.Conf.DiskMaxUsedSpaceRatio:
			p.add(Warn, "disk space", "make room first", "%s: expired files are deleted at any hour (diskMaxUsedSpaceRatio=%d)", text, p.Conf.DiskMaxUsedSpaceRatio)
		default:
			p.add(OK, "disk space", "", "%s", text)
		}
		if free := u.Total - u.Used; free < uint64(2*p.Conf.MappedFileSizeCommitLog) {
			p.add(Warn, "disk space", "", "%s: less than two files of the log", text)
		}
	}
	return nil
}

// permissions asks whether files may be read and written: those at the ends, not each.
func (p *patient) permissions() error {
	names := []string{".", "config", "consumequeue", "index", "checkpoint", "abort", "lock", "timerwheel", "timerlog", "config/topics.json", "config/subscriptionGroup.json"}
	var bad []string
	for _, name := range names {
		if !p.there(name) {
			continue
		}
		if err := p.Access(name); err != nil {
			bad = append(bad, fmt.Sprintf("%s (%v)", name, err))
		}
	}
	slices.Sort(bad)
	if len(bad) > 0 {
		p.add(Bad, "permissions", "run as the user that the files belong to, or give them to it", "not to be read and written by this user: %s", strings.Join(bad, ", "))
	} else {
		p.add(OK, "permissions", "", "files may be read and written")
	}
	return nil
}

// writer tells who wrote the directory, by what only some versions leave behind.
func (p *patient) writer() string {
	text, _ := fs.ReadFile(p.Root, "config/topics.json")
	corrupt := false
	files, _, _ := list(p.Root, "config")
	for _, f := range files {
		corrupt = corrupt || strings.HasSuffix(f.name, ".corrupt")
	}
	five := p.there("config/timercheck") || p.there("timerwheel") || strings.Contains(string(text), `"attributes"`)
	switch {
	case p.there("rocksdbstore"):
		return "a Java broker of 5.4 or later (folder rocksdbstore); Apogee may have run since"
	case p.there("abort.bak"):
		return "a Java broker of 5.x (empty abort.bak); Apogee may have run since"
	case !five && len(text) > 0:
		return "a Java broker of 4.x (topics without attributes, no timers)"
	case corrupt:
		return "Apogee (a file .corrupt in config)"
	case five:
		return "Apogee, or a Java broker of 5.0 to 5.3 (no marks of others)"
	}
	return "not known"
}
