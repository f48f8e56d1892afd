package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const headerDir = "../../remoting/header/"

func TestCheckedInCodeIsWhatTheHeadersGenerate(t *testing.T) {
	src, err := os.ReadFile(headerDir + "headers.go")
	if err != nil {
		t.Fatal(err)
	}
	want, err := generate(src)
	if err != nil {
		t.Fatal(err)
	}
	// None more either: what is not generated any longer would go on being compiled.
	there, err := filepath.Glob(headerDir + "*_gen.go")
	if err != nil || len(there) != len(want) {
		t.Errorf("generated files are %v, %v; want %d", there, err, len(want))
	}
	for name, text := range want {
		got, err := os.ReadFile(headerDir + name)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, text) {
			t.Errorf("remoting/header/%s is not what headers.go generates: run go generate ./remoting/header", name)
		}
	}
}

func TestGenerateRefusesWhatItCannotWrite(t *testing.T) {
	for name, field := range map[string]string{
		"a field without a tag":             "F string",
		"a tag part it does not know":       "F string `rmq:\"f,requierd\"`",
		"a type it has no encoding for":     "F []string `rmq:\"f\"`",
		"a basic type it does not know":     "F float64 `rmq:\"f\"`",
		"an optional of an unknown type":    "F Opt[float64] `rmq:\"f\"`",
		"an optional string":                "F Opt[string] `rmq:\"f\"`",
		"an optional that is also required": "F Opt[int32] `rmq:\"f,required\"`",
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := generate([]byte("package header\n\ntype H struct {\n\t" + field + "\n}\n")); err == nil || !strings.Contains(err.Error(), "H: ") {
				t.Errorf("generate: %v, want an error that names H", err)
			}
		})
	}
}
