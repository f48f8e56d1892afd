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
	testkit.RemoveBinary()
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

func long() bool { return os.Getenv("APOGEE_LONG") == "1" }
