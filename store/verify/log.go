package verify

import (
	"bytes"
	"fmt"
	"unicode/utf8"
	"unsafe"

	"apogee/store/record"
)

// checkLog reads the log, and merges queues and index files with it.
func (r *run) checkLog() error {
	if len(r.log) == 0 {
		r.queues.finish(r)
		return nil
	}
	known := max(r.queues.known, r.cp.LogicsPhysical)
	check := logCheck{known: known, live: r.Live}
	scan := LogScan{Log: r.Log, Live: r.Live, Known: known, Follow: r.queues.known == 0, Check: check.record}
	first, total := r.log[0].base, int64(0)
	for _, f := range r.log {
		scan.Files = append(scan.Files, LogSegment{f.name, f.base, f.size})
		total += f.size
	}
	for p, err := range scan.Pieces(r.ctx) {
		if err != nil {
			return err
		}
		for _, f := range p.Findings {
			if f.Kind == LogLost {
				f.Level = r.afterCrash()
			}
			if f.Kind == LogTail && !r.clean {
				f.Level = Recoverable
			}
			r.report(f)
		}
		r.logMin = p.Min
		for i := range p.Records {
			r.join(&p.Records[i])
		}
		r.logEnd = p.End
		if r.Progress != nil {
			r.Progress(p.End-first, total)
		}
	}
	r.queues.finish(r)
	r.index.finish(r)
	r.checkMarks()
	return nil
}

// logCheck looks at records.
type logCheck struct {
	known int64 // what ends here is known to queues or the checkpoint
	live  bool  // the last record may be one that is just being written
}

// record looks at one. False says that it is none: its checksum is wrong, and nothing says that it ever was there as a whole.
func (c *logCheck) record(p *LogPiece, f *LogRecord, behind []byte) bool {
	h := &f.Head
	add := func(kind Kind, level Level, text string) {
		p.Findings = append(p.Findings, Finding{
			Kind: kind, Level: level, File: below(logDir, f.In.Name), At: f.Off - f.In.Base, Size: int64(h.Size), Count: 1,
			Topic: string(bytes.ToValidUTF8(h.Topic, []byte("?"))), Queue: h.QueueID, Offset: h.QueueOffset, Phys: f.Off, Text: text,
		})
	}
	if h.CheckBody() != nil {
		if !c.vouched(f, behind) {
			return false
		}
		add(LogBody, Damage, fmt.Sprintf("the body of %d bytes is not what its checksum says", len(h.Body)))
	}
	if h.CheckPropCRC(f.Bytes, false) != nil {
		if !c.vouched(f, behind) {
			return false
		}
		add(LogProps, Damage, "the record is not what the checksum in its properties says")
	}
	if h.PhysicalOffset != f.Off {
		add(LogPlace, Damage, fmt.Sprintf("the record at %d says that it starts at %d", f.Off, h.PhysicalOffset))
	}
	if why := badFields(h); why != "" {
		add(LogFields, Damage, why)
	}
	switch why := badProperties(h.Properties); {
	case why != "" && c.live && !c.vouched(f, behind):
		return false
	case why != "":
		add(LogProps, Damage, why)
	case !utf8.Valid(h.Properties):
		add(LogProps, Note, "the properties are no UTF-8")
	}
	return true
}

// vouched tells whether a record whose checksum is wrong was there before: a queue knows it, or another record follows.
func (c *logCheck) vouched(f *LogRecord, behind []byte) bool {
	end := f.Off + int64(f.Head.Size)
	if c.known >= end {
		return true
	}
	var next record.Header
	err := record.Parse(behind, &next)
	return err == nil && next.PhysicalOffset == end && next.CheckBody() == nil
}

func badFields(h *record.Header) string {
	switch {
	case h.QueueID < 0:
		return fmt.Sprintf("queue id %d", h.QueueID)
	case h.QueueOffset < 0:
		return fmt.Sprintf("queue offset %d", h.QueueOffset)
	case h.StoreTimestamp <= 0:
		return fmt.Sprintf("stored at %d ms", h.StoreTimestamp)
	case len(h.Topic) == 0:
		return "no topic"
	}
	for _, c := range h.Topic {
		if c < ' ' {
			return fmt.Sprintf("topic %q", h.Topic)
		}
	}
	return ""
}

// badProperties tells what is wrong with a properties string: a pair without a name, or without an end of the name.
func badProperties(p []byte) string {
	for len(p) > 0 {
		pair := p
		if i := bytes.IndexByte(p, record.PairEnd); i >= 0 {
			pair, p = p[:i], p[i+1:]
		} else {
			p = nil
		}
		if len(pair) == 0 {
			continue
		}
		if k := bytes.IndexByte(pair, record.NameEnd); k <= 0 {
			return fmt.Sprintf("a property that is no name and value: %.60q", pair)
		}
	}
	return ""
}

// join holds queues and index against a record.
func (r *run) join(f *LogRecord) {
	r.res.Records++
	h := &f.Head
	r.newest = max(r.newest, h.StoreTimestamp)
	words := record.ReadWords(view(h.Properties))
	if t := h.Tran(); t != record.SysTranPrepared && t != record.SysTranRollback && h.QueueID >= 0 {
		r.queues.join(r, f, &words)
	}
	r.index.join(r, f, &words)
}

// view is the string that shares b's bytes.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
