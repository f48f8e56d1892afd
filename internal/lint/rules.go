package lint

// module is the path that our own packages start with.
const module = "apogee"

// An importRule says which of our packages those below a folder may import, in code that is not a test. The rule with the longest
// folder that fits counts. A package may always import its own children.
type importRule struct {
	folder string
	may    []string // folders; children included
}

// importRules are the table of ARCHITECTURE.md. A folder without a rule may import everything but conformance and cmd.
var importRules = []importRule{
	{"remoting", []string{"remoting"}},
	{"store/vfs", nil},
	{"store/record", nil},
	{"store/inspect", []string{"store/vfs", "store/record"}},
	{"store/foreign", []string{"store/vfs", "store/record"}},
	{"store/migrate", []string{"store/vfs", "store/record", "store/inspect", "store/foreign"}},
	{"store/repair", []string{"store", "store/vfs", "store/record", "store/foreign"}},
	{"store/verify", []string{"store/inspect", "store/record", "compat"}},
	{"store/compare", []string{"store/verify", "store/inspect", "store/record", "compat"}},
	{"store/doctor", []string{"store", "compat"}},
	{"store", []string{"store/vfs", "store/record"}},
	{"compat", []string{"compat"}},
	{"filter", nil},
	{"namesrv", []string{"remoting", "compat", "store/vfs"}},
	{"ha", []string{"store", "remoting"}},
	{"broker", []string{"remoting", "store", "compat", "filter", "ha", "broker"}},
	{"bench", []string{"bench", "remoting", "compat", "store/record", "internal"}},
	{"internal", []string{"internal", "remoting", "store", "compat"}},
}

// importedByAll are folders that any package may import: they import none of ours.
var importedByAll = []string{"internal/clock", "internal/jsontext", "internal/names", "internal/prefetch"}

// neverImported are folders that only they themselves import.
var neverImported = []string{"conformance", "cmd"}

// A callRule forbids calls outside their homes.
type callRule struct {
	pkg   string   // import path
	names []string // functions; a trailing * stands for any rest
	homes []string // folders, or single files, where the call is at home
	tests bool     // holds in tests too
	why   string
}

var callRules = []callRule{
	{
		pkg: "time", names: []string{"Now", "Since", "Until"}, homes: []string{"cmd", "bench", "conformance", "internal"},
		why: "the clock is a parameter (Now func() time.Time)",
	},
	{
		pkg: "time", names: []string{"Sleep"}, homes: []string{"cmd", "bench", "conformance", "internal/clock", "internal/testkit"}, tests: true,
		why: "wait on a condition, a timer that can be stopped, or a context",
	},
	{
		pkg:   "os",
		names: []string{"Open*", "Create*", "ReadFile", "WriteFile", "ReadDir", "Rename", "Remove*", "Mkdir*", "Truncate", "Stat"},
		homes: []string{"store/vfs", "cmd", "bench", "conformance", "internal"},
		why:   "files go through store/vfs",
	},
	{
		pkg: "fmt", names: []string{"Print*"}, homes: []string{"cmd", "bench", "conformance", "internal"},
		why: "servers log through log/slog",
	},
}

// exceptions are places that a call rule does not hold for, each with its reason: "file function".
var exceptions = map[string]string{}

// Lines of a file. Beyond maxLines a test fails; longFiles names those that may be longer, with the reason.
const maxLines = 700

var longFiles = map[string]string{
	"remoting/header/headers.go": "a list: one struct for each header of the protocol, which a generator reads as one file",
}

// machinePaths would only mean something on the machine where they were written.
var machinePaths = []string{"/" + "root/", "/" + "work/", "/" + "Users/", "/" + "home/runner"}

// unreadSettings are fields that a configuration file sets and no code reads by name, each with how it has its effect all the same.
var unreadSettings = map[string]string{
	"RocketmqHome": "shown in answers and by -p; nothing is read from there",
	"Home":         "the same, of the broker",
	"ConfigFile":   "cmd/apogee reads the file that it names before anything is bound",
}
