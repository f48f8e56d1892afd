package compare

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"

	"apogee/compat/fastjson"
)

// Tables are the files of config that hold a broker's tables, by what they are called here.
func Tables() []string {
	return []string{
		"topics.json", "subscriptionGroup.json", "consumerOffset.json", "lmqConsumerOffset.json", "delayOffset.json", "consumerOrderInfo.json",
		"consumerFilter.json", "messageRequestMode.json", "topicQueueMapping.json", "timermetrics", "transactionMetrics",
	}
}

// tableMost bounds the size of a file that is read.
const tableMost = 512 << 20

// Table reads a file of config as a broker does, the backup where the file cannot be read, and returns its text as standard JSON, and which of the
// two it was. fs.ErrNotExist: there is neither.
func Table(root fs.FS, name string) (text json.RawMessage, from string, err error) {
	first, err := readTable(root, name)
	if err == nil {
		return first, name, nil
	}
	second, backupErr := readTable(root, name+".bak")
	switch {
	case backupErr == nil:
		return second, name + ".bak", nil
	case errors.Is(err, fs.ErrNotExist) && errors.Is(backupErr, fs.ErrNotExist):
		return nil, "", fmt.Errorf("config/%s: %w", name, fs.ErrNotExist)
	case errors.Is(err, fs.ErrNotExist):
		err = backupErr
	}
	return nil, "", fmt.Errorf("config/%s cannot be read, nor can its backup: %v", name, err)
}

func readTable(root fs.FS, name string) (json.RawMessage, error) {
	name = path.Join("config", name)
	info, err := fs.Stat(root, name)
	if err != nil {
		return nil, err
	}
	if info.Size() == 0 || info.Size() > tableMost {
		return nil, fmt.Errorf("%d bytes", info.Size())
	}
	text, err := fs.ReadFile(root, name)
	if err != nil {
		return nil, err
	}
	return fastjson.Normalize(nil, text)
}

// ignored are members that say nothing of a table: versions and times of its last change, what is derived from others, and what was pulled but
// not committed, which a Java broker with enableLmq forgets at each start.
var ignored = []string{"dataVersion", "groupTopicMap", "timeStamp", "pullOffsetTable"}

// tables compares the files of config.
func (c *comparison) tables() error {
	for _, name := range Tables() {
		a, err := tree(c.o.A.Root, name)
		if err != nil {
			return fmt.Errorf("A: %w", err)
		}
		b, err := tree(c.o.B.Root, name)
		if err != nil {
			return fmt.Errorf("B: %w", err)
		}
		c.compare(name, "", a, b)
	}
	return nil
}

// tree is a table as nested maps; a missing file is an empty one.
func tree(root fs.FS, name string) (any, error) {
	text, _, err := Table(root, name)
	if errors.Is(err, fs.ErrNotExist) {
		return map[string]any{}, nil
	}
	if err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, fmt.Errorf("config/%s: %w", name, err)
	}
	return v, nil
}

// compare reports where two values differ: as deep as both are objects.
func (c *comparison) compare(file, at string, a, b any) {
	x, isX := a.(map[string]any)
	y, isY := b.(map[string]any)
	if !isX && !isY || isX && !isY && b != nil || isY && !isX && a != nil {
		if p, q := text(a), text(b); p != q {
			c.report(Difference{What: file, Name: at, A: p, B: q})
		}
		return
	}
	if (a == nil || b == nil) && at != "" && len(x)+len(y) > 0 { // all of it
		c.report(Difference{What: file, Name: at, A: text(a), B: text(b)})
		return
	}
	all := maps.Clone(x)
	if all == nil {
		all = map[string]any{}
	}
	maps.Copy(all, y)
	for _, k := range slices.Sorted(maps.Keys(all)) {
		if slices.Contains(ignored, k) {
			continue
		}
		name := k
		if at != "" {
			name = at + "." + k
		}
		c.compare(file, name, x[k], y[k])
	}
}

func text(v any) string {
	if v == nil {
		return ""
	}
	out, err := json.Marshal(v)
	if err != nil || string(out) == "[]" {
		return ""
	}
	return string(out)
}
