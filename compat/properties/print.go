package properties

import (
	"fmt"
	"io"
)

// Settings are the configuration as it stands, each key once: what targets hold, in the order of their declaration, then the keys
// that server accepts without effect (with what src sets, or Java's default), then keys of src that nobody knows.
func Settings(s Server, src *File, targets ...any) (*File, error) {
	fields, err := fieldsOf(targets)
	if err != nil {
		return nil, err
	}
	out := New("")
	for _, f := range fields {
		if _, twice := out.index[f.Key]; !twice {
			out.Set(f.Key, f.Value())
		}
	}
	for _, k := range Keys() {
		if _, bound := out.index[k.Name]; bound || !k.Of(s) {
			continue
		}
		out.Set(k.Name, k.Default())
		if v, ok := src.Get(k.Name); ok {
			out.Set(k.Name, v)
		}
	}
	for _, e := range src.Entries() {
		if _, there := out.index[e.Key]; !there && e.Key != KeySerializeType {
			out.Set(e.Key, e.Value)
		}
	}
	return out, nil
}

// Print writes [Settings] as key=value lines, which is what -p prints. With importantOnly it writes the keys that Java marks as
// important (annotation ImportantField), which is what -m of the broker prints.
func Print(w io.Writer, s Server, importantOnly bool, src *File, targets ...any) error {
	all, err := Settings(s, src, targets...)
	if err != nil {
		return err
	}
	for _, e := range all.entries {
		if importantOnly {
			if k, ok := LookupKey(e.Key); !ok || !k.Important {
				continue
			}
		}
		if _, err := fmt.Fprintf(w, "%s=%s\n", e.Key, e.Value); err != nil {
			return err
		}
	}
	return nil
}
