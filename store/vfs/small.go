package vfs

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path"
	"time"
)

// SmallFile is a file that is replaced as a whole, by [WriteFileAtomic], [Versions] or a Java broker, and how it is read when
// something has happened to it. Nothing of it is deleted: what cannot be used is moved beside, with the date in its name, so that
// the next write does not push it over a good backup. (Java deletes it, and does not start where the backup is of no use either.)
type SmallFile struct {
	FS   FS
	Name string
	Log  *slog.Logger // one line for whatever was not as it should be; nil for nobody
	Now  func() time.Time

	// Salvage parses what is ahead of the damage in a text; nil where a part is of no use.
	Salvage func(text []byte, parse func([]byte) error) error
	// Lost says, for the log, what it means that the file has to be read in part, or is lost.
	Lost string
}

// Loaded says what was read.
type Loaded struct {
	From    string // the file that was parsed, "" for none
	Damaged bool   // it was not the file itself as somebody wrote it last: what was written since may be missing
	Part    bool   // it was cut off at the damage
}

const (
	backupSuffix = ".bak"
	tempSuffix   = ".tmp"
)

// Load gives parse the contents of the file, or else of its backup, or else what can be salvaged of either. parse may be called
// again after a failure, so it must set its result as a whole. That there is neither file nor backup is no error, nor is it that
// none can be used: Loaded tells. Errors are those of a file that cannot be opened, which may be well.
func (s *SmallFile) Load(parse func([]byte) error) (got Loaded, err error) {
	if s.Log == nil {
		s.Log = slog.New(slog.DiscardHandler)
	}
	var texts [2]unread
	names := [2]string{s.Name, s.Name + backupSuffix}
	for i, name := range names {
		if texts[i], err = s.try(name, parse); err != nil {
			return got, fmt.Errorf("read %s: %w", name, err)
		}
		if texts[i].why == nil {
			break
		}
	}
	first, second := &texts[0], &texts[1]
	switch {
	case first.why == nil:
		return Loaded{From: s.Name}, nil
	case first.absent && second.absent:
		return got, nil
	case second.why == nil && first.absent:
		s.Log.Warn("file is missing; its backup is used, and what was written last may be missing", "file", s.Name, "backup", names[1])
		return Loaded{From: names[1], Damaged: true}, nil
	case second.why == nil:
		aside, err := SetAside(s.FS, s.Name, s.Now())
		if err != nil {
			return got, err
		}
		s.Log.Warn("file is damaged; its backup is used, and what was written last may be missing", "file", s.Name, "backup", names[1], "err", first.why, "moved", aside)
		return Loaded{From: names[1], Damaged: true}, nil
	}
	return s.salvage(names, texts, parse)
}

// unread is a file that was not taken.
type unread struct {
	text   []byte
	why    error // nil for a file that was taken
	absent bool
}

var errEmpty = errors.New("empty")

// try parses a file. An error is one of opening it: that is no damage.
func (s *SmallFile) try(name string, parse func([]byte) error) (unread, error) {
	f, err := s.FS.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return unread{why: err, absent: true}, nil
	}
	if err != nil {
		return unread{}, err
	}
	text, err := readAll(f)
	err = errors.Join(err, f.Close())
	if err == nil {
		// A power cut leaves files of nothing, or of zeros; "null" says as little.
		switch rest := bytes.Trim(text, "\x00 \t\r\n"); {
		case len(rest) == 0, string(rest) == "null":
			err = errEmpty
		default:
			err = parse(text)
		}
	}
	return unread{text: text, why: err}, nil
}

// salvage is Load for a file that cannot be used, and whose backup cannot be used or is missing.
func (s *SmallFile) salvage(names [2]string, texts [2]unread, parse func([]byte) error) (got Loaded, err error) {
	got.Damaged = true
	// What somebody was about to write is as good as any, if it is whole.
	if temp, err := s.try(s.Name+tempSuffix, parse); err == nil && temp.why == nil {
		got.From = s.Name + tempSuffix
	}
	for i := 0; i < len(texts) && got.From == "" && s.Salvage != nil; i++ {
		if texts[i].text != nil && s.Salvage(texts[i].text, parse) == nil {
			got.From, got.Part = names[i], true
		}
	}
	attrs := []any{"file", s.Name, "err", texts[0].why, "backupErr", texts[1].why, "read", got.From}
	for i, name := range names {
		if len(texts[i].text) == 0 {
			continue
		}
		// A copy: until something better has been written the next start shall find what this one has found.
		aside, err := asideName(s.FS, name, s.Now())
		if err == nil {
			err = writeSynced(s.FS, aside, texts[i].text)
		}
		if err == nil {
			err = s.FS.SyncDir(path.Dir(name))
		}
		if err != nil {
			return got, fmt.Errorf("copy %s: %w", name, err)
		}
		attrs = append(attrs, "copied", aside)
	}
	switch {
	case got.Part:
		s.Log.Error("file and backup are damaged; what is ahead of the damage is used. "+s.Lost, attrs...)
	case got.From != "":
		s.Log.Error("file and backup are damaged; a version that was about to be written is used. "+s.Lost, attrs...)
	default:
		s.Log.Error("file and backup are damaged, and nothing of them can be used. "+s.Lost, attrs...)
	}
	return got, nil
}

// SetAside gives a file or directory that is damaged a name that nobody reads, with the date, and returns it.
func SetAside(fsys FS, name string, now time.Time) (string, error) {
	aside, err := asideName(fsys, name, now)
	if err == nil {
		err = fsys.Rename(name, aside)
	}
	if err == nil {
		err = fsys.SyncDir(path.Dir(name))
	}
	if err != nil {
		return "", fmt.Errorf("set aside %s: %w", name, err)
	}
	return aside, nil
}

// asideName is a name that is free.
func asideName(fsys FS, name string, now time.Time) (string, error) {
	stamp := name + ".corrupt-" + now.UTC().Format("20060102-150405")
	aside := stamp
	for n := 2; ; n++ {
		_, err := fsys.Stat(aside)
		if errors.Is(err, fs.ErrNotExist) {
			return aside, nil
		}
		if err != nil {
			return "", err
		}
		aside = fmt.Sprintf("%s-%d", stamp, n)
	}
}

// QuarantineDir is where files go that are damaged and lie among others that a Java broker would not start with, below the root of the
// directory.
const QuarantineDir = "quarantine"

// QuarantineName is a free name below the root's [QuarantineDir] for something that lies at rel below the root. Its directory is there.
func QuarantineName(fsys FS, root, rel string, now time.Time) (string, error) {
	stamp := path.Join(root, QuarantineDir, now.UTC().Format("20060102-150405"))
	for n := 1; ; n++ {
		to := path.Join(stamp, rel)
		if n > 1 {
			to = path.Join(fmt.Sprintf("%s-%d", stamp, n), rel)
		}
		_, err := fsys.Stat(to)
		if errors.Is(err, fs.ErrNotExist) {
			err = fsys.MkdirAll(path.Dir(to))
			for dir := path.Dir(to); err == nil && dir != root && dir != path.Dir(dir); dir = path.Dir(dir) {
				err = fsys.SyncDir(path.Dir(dir))
			}
			return to, err
		}
		if err != nil {
			return "", err
		}
	}
}

// Quarantine moves a file or directory that lies at rel below the root there, and returns its name.
func Quarantine(fsys FS, root, rel string, now time.Time) (string, error) {
	name := path.Join(root, rel)
	to, err := QuarantineName(fsys, root, rel, now)
	if err == nil {
		err = fsys.Rename(name, to)
	}
	if err == nil {
		err = errors.Join(fsys.SyncDir(path.Dir(to)), fsys.SyncDir(path.Dir(name)))
	}
	if err != nil {
		return "", fmt.Errorf("set aside %s: %w", name, err)
	}
	return to, nil
}
