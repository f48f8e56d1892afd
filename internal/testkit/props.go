package testkit

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
)

// Props are the settings of a .properties file. Values are written as they are: escape them where that matters.
type Props map[string]string

// With is a copy with other settings added or put in place.
func (p Props) With(more Props) Props {
	out := maps.Clone(p)
	if out == nil {
		out = Props{}
	}
	maps.Copy(out, more)
	return out
}

// Text is the file's content, sorted by key.
func (p Props) Text() string {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(p)) {
		fmt.Fprintf(&b, "%s=%s\n", k, p[k])
	}
	return b.String()
}

// WriteFile writes the settings to a file.
func (p Props) WriteFile(path string) error { return os.WriteFile(path, []byte(p.Text()), 0o644) }
