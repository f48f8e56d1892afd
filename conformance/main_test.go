package conformance

import (
	"os"
	"testing"

	"apogee/internal/testkit"
)

func TestMain(m *testing.M) {
	Inside()
	Quiet()
	code := m.Run()
	testkit.RemoveBuilt()
	os.Exit(code)
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
		java, err := testkit.FindJava()
		if err != nil {
			t.Skipf("SKIPPED, nothing was run against Java, as APOGEE_TARGET=java asks: %v", err)
		}
		return java
	}
	return needBinary(t)
}

func long() bool { return os.Getenv("APOGEE_LONG") == "1" }
