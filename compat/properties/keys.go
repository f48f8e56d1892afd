package properties

import (
	_ "embed"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync"
)

//go:embed keys.tsv
var keysText string

// Server is the kind of process that reads a file; it decides which keys it knows.
type Server byte

// The servers of keys.tsv.
const (
	NameServer Server = 'n'
	Broker     Server = 'b'
	Container  Server = 'c'
	Controller Server = 'k'
)

// String is the server's name in sentences.
func (s Server) String() string {
	switch s {
	case NameServer:
		return "name server"
	case Broker:
		return "broker"
	case Container:
		return "broker container"
	case Controller:
		return "controller"
	default:
		return "server " + string(rune(s))
	}
}

// Key is what is known about one key of the Java servers.
type Key struct {
	Name      string
	Type      string // Java's
	Servers   string // one letter each, see Server
	Important bool   // -m prints it
	Reason    string // why it has no effect in Apogee; "" where it has one

	def string
}

// Default is the value that Java starts with, "" where that depends on the machine.
func (k Key) Default() string {
	formula, ok := strings.CutPrefix(k.def, "cores:")
	if !ok {
		return k.def
	}
	var n [3]int
	for i, s := range strings.Split(formula, ",") {
		n[i], _ = strconv.Atoi(s) // the table is ours; a test reads every line
	}
	v := n[0] + n[1]*runtime.NumCPU()
	if n[2] > 0 {
		v = min(v, n[2])
	}
	return strconv.Itoa(v)
}

// Of tells whether a server of that kind knows the key.
func (k Key) Of(s Server) bool { return strings.IndexByte(k.Servers, byte(s)) >= 0 }

type keyTable struct {
	all    []Key
	byName map[string]int
}

// keys reads the table when it is first asked for; it never changes.
var keys = sync.OnceValue(func() keyTable {
	t, err := readKeys(keysText)
	if err != nil {
		panic(err) // the text is part of the binary and a test reads it
	}
	return t
})

func readKeys(text string) (keyTable, error) {
	t := keyTable{byName: make(map[string]int)}
	reasons := map[string]string{"-": ""}
	for n, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		if rest, ok := strings.CutPrefix(line, "#reason "); ok {
			id, sentence, _ := strings.Cut(rest, "\t")
			reasons[id] = sentence
			continue
		}
		if strings.HasPrefix(line, "#") {
			continue
		}
		col := strings.Split(line, "\t")
		if len(col) != 6 {
			return keyTable{}, fmt.Errorf("keys.tsv:%d: %d columns, want 6", n+1, len(col))
		}
		reason, ok := reasons[col[5]]
		if !ok {
			return keyTable{}, fmt.Errorf("keys.tsv:%d: no reason %q", n+1, col[5])
		}
		if _, twice := t.byName[col[0]]; twice {
			return keyTable{}, fmt.Errorf("keys.tsv:%d: %s stands there twice", n+1, col[0])
		}
		t.byName[col[0]] = len(t.all)
		t.all = append(t.all, Key{
			Name: col[0], Type: col[1], def: col[2], Servers: col[3], Important: col[4] == "!", Reason: reason,
		})
	}
	return t, nil
}

// Keys are all keys of the table, sorted by name without regard to case. The slice must not be changed.
func Keys() []Key { return keys().all }

// LookupKey finds a key of the table.
func LookupKey(name string) (Key, bool) {
	t := keys()
	i, ok := t.byName[name]
	if !ok {
		return Key{}, false
	}
	return t.all[i], true
}

// Warning says that a setting has no effect, and why.
type Warning struct {
	Entry  Entry
	Reason string
}

// String is the whole warning: place, key and reason.
func (w Warning) String() string {
	return fmt.Sprintf("%s: %s: %s", w.Entry.Where(), w.Entry.Key, w.Reason)
}

// Warnings tells for each setting that reached no field why it has no effect in this server: one warning for each key.
func (r Report) Warnings(s Server) []Warning {
	var out []Warning
	for _, e := range r.Unbound {
		if e.Key == KeySerializeType {
			continue // not a configuration key; whoever starts the server reads it
		}
		k, ok := LookupKey(e.Key)
		var why string
		switch {
		case !ok:
			why = "unknown key, kept without effect" + hint(e.Key)
		case !k.Of(s):
			why = fmt.Sprintf("no key of a %s, kept without effect", s)
		case k.Reason == "":
			why = fmt.Sprintf("accepted without effect in a %s", s)
		default:
			why = "accepted without effect: " + k.Reason
		}
		out = append(out, Warning{Entry: e, Reason: why})
	}
	return out
}

// hint names the key that was probably meant, if one is near enough.
func hint(name string) string {
	const near = 2
	best, at := near+1, ""
	lower := strings.ToLower(name)
	for _, k := range Keys() {
		if d := distance(lower, strings.ToLower(k.Name), near); d < best {
			best, at = d, k.Name
		}
	}
	if at == "" {
		return ""
	}
	return "; did you mean " + at + "?"
}

// distance is the edit distance of a and b, or more than limit as soon as that is certain.
func distance(a, b string, limit int) int {
	if d := len(a) - len(b); d > limit || -d > limit {
		return limit + 1
	}
	prev := make([]int, len(b)+1)
	next := make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := range len(a) {
		next[0] = i + 1
		low := next[0]
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			next[j+1] = min(prev[j]+cost, prev[j+1]+1, next[j]+1)
			low = min(low, next[j+1])
		}
		if low > limit {
			return limit + 1
		}
		prev, next = next, prev
	}
	return prev[len(b)]
}
