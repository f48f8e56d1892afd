package conformance

import (
	"flag"
	"os"
	"testing"

	"apogee/internal/testkit"
)

func TestMain(m *testing.M) {
	Inside()
	Quiet()
	flag.Parse()
	// The tests wait most of the time, for servers and for what is due; two of them could be all on a small machine.
	if err := flag.Set("test.parallel", "32"); err != nil {
		panic(err)
	}
	code := m.Run()
	testkit.RemoveBuilt()
	os.Exit(code)
}

// jvms is room for two servers of the reference at once: each keeps both processors of a small machine busy for seconds when it starts.
var jvms = make(chan struct{}, 2)

func findJava() (*testkit.Java, error) {
	java, err := testkit.FindJava()
	if err == nil {
		java.Room = jvms
	}
	return java, err
}

// other is the implementation that target is not.
func other(target testkit.Target) (testkit.Target, error) {
	if target.Name() == "apogee" {
		return findJava()
	}
	return counterpart(target)
}

// needBinary is the binary under test.
func needBinary(t testing.TB) testkit.Apogee {
	t.Helper()
	bin, err := testkit.Binary()
	if err != nil {
		t.Fatal(err)
	}
	return testkit.Apogee{Bin: bin}
}

// testTarget is what tests run against: Apogee, or what APOGEE_TARGET says; with java a test shows that it asks for the right thing.
func testTarget(t testing.TB) testkit.Target {
	t.Helper()
	if os.Getenv("APOGEE_TARGET") == "java" {
		java, err := findJava()
		if err != nil {
			t.Skipf("SKIPPED, nothing was run against Java, as APOGEE_TARGET=java asks: %v", err)
		}
		return java
	}
	return needBinary(t)
}

func long() bool { return os.Getenv("APOGEE_LONG") == "1" }
