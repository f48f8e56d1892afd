package main

import (
	"bytes"
	"os"
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
	got, err := os.ReadFile(headerDir + "headers_gen.go")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("remoting/header/headers_gen.go is not what headers.go generates: run go generate ./remoting/header")
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
