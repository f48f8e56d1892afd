package testkit

import (
	"errors"
	"flag"
	"fmt"
	"os"
)

// NewFlags are the flags of a test tool, whose help begins with a text.
func NewFlags(name, help string) *flag.FlagSet {
	set := flag.NewFlagSet(name, flag.ContinueOnError)
	set.Usage = func() {
		fmt.Fprint(set.Output(), help)
		set.PrintDefaults()
	}
	return set
}

// ParseFlags reads them; there are no other arguments. If it returns false the tool ends with the code: 0 after its help, 2 after a mistake.
func ParseFlags(set *flag.FlagSet, args []string) (code int, ok bool) {
	switch err := set.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0, false
	case err != nil:
		return 2, false
	case set.NArg() > 0:
		fmt.Fprintf(os.Stderr, "%s: unexpected argument %q; -h explains\n", set.Name(), set.Arg(0))
		return 2, false
	}
	return 0, true
}
