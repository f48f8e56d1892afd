// Command fault-test prints what became of acknowledged messages when power, disks and files failed, each figure with its seeds. It ends
// with 1 if something was lost that was promised, or if a process would have died.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"

	"apogee/conformance/faults"
)

func main() {
	faults.Inside()
	ok, err := run(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "fault-test:", err)
		os.Exit(2)
	}
	if !ok {
		os.Exit(1)
	}
}

func run(args []string) (bool, error) {
	set := flag.NewFlagSet("fault-test", flag.ContinueOnError)
	n, step := uint64(48), uint64(11)
	if os.Getenv("APOGEE_LONG") == "1" {
		n, step = 1000, 1
	}
	seeds := set.Uint64("seeds", n, "power cuts are drawn from so many seeds, for each flush policy")
	from := set.Uint64("from", 0, "the first `seed`")
	logs := set.Bool("logs", false, "print the broker's log of what failed")
	only := set.String("only", "", "just one `part`: cuts, disks or files")
	if err := set.Parse(args); errors.Is(err, flag.ErrHelp) {
		return true, nil
	} else if err != nil {
		return false, err
	}
	if set.NArg() > 0 || *seeds == 0 {
		return false, fmt.Errorf("usage: fault-test [-seeds N] [-from SEED] [-only PART] [-logs]")
	}
	part := func(name string) bool { return *only == "" || *only == name }
	var findings []faults.Finding
	if part("cuts") {
		for _, mode := range []faults.Mode{faults.Sync, faults.Async} {
			f := faults.PowerCuts(mode, *from, *seeds)
			f.Print(os.Stdout)
			findings = append(findings, f.Findings...)
		}
	}
	if part("disks") {
		f := faults.Faults(*from%step, step)
		f.Print(os.Stdout)
		findings = append(findings, f.Findings...)
		s := faults.Replicas(*from%step, step)
		s.Print(os.Stdout)
		findings = append(findings, s.Findings...)
	}
	if part("files") {
		f := faults.Truncations(*from, *seeds/4+1)
		f.Print(os.Stdout, *from, *seeds/4+1)
		findings = append(findings, f.Findings...)
	}
	if *logs {
		for _, f := range findings {
			fmt.Printf("seed %d: %s\n%s\n", f.Seed, f.Text, f.Log)
		}
	}
	return len(findings) == 0, nil
}
