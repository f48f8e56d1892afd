package meta

import (
	"errors"
	"testing"

	"apogee/compat/body"
	"apogee/store/vfs"
)

func TestModes(t *testing.T) {
	fs := vfs.NewMem(now)
	if err := errors.Join(fs.MkdirAll("/store"), fs.SyncDir("/")); err != nil {
		t.Fatal(err)
	}
	m := NewModes(fs, "/store", now, quiet())
	if err := m.Load(); err != nil {
		t.Fatal(err)
	}
	if _, ok := m.Get("tA", "gA"); ok || string(m.JSON()) != `{"messageRequestModeMap":{}}` {
		t.Errorf("an empty table: %s", m.JSON())
	}
	mode := body.SetMessageRequestModeRequestBody{Topic: "tA", ConsumerGroup: "gA", Mode: "POP", PopShareQueueNum: 8}
	if err := m.Set(mode); err != nil {
		t.Fatal(err)
	}
	text, err := vfs.ReadFile(fs, "/store/config/messageRequestMode.json")
	const want = "{\n\t\"messageRequestModeMap\":{\n\t\t\"tA\":{\n\t\t\t\"gA\":{\n\t\t\t\t\"consumerGroup\":\"gA\",\n\t\t\t\t\"mode\":\"POP\"," +
		"\n\t\t\t\t\"popShareQueueNum\":8,\n\t\t\t\t\"topic\":\"tA\"\n\t\t\t}\n\t\t}\n\t}\n}"
	if err != nil || string(text) != want {
		t.Errorf("the file: %v\n%s", err, text)
	}
	again := NewModes(fs.CrashClone(1), "/store", now, quiet())
	if err := again.Load(); err != nil {
		t.Fatal(err)
	}
	if got, ok := again.Get("tA", "gA"); !ok || got != mode {
		t.Errorf("after a crash: %+v", got)
	}
	if err := again.Set(body.SetMessageRequestModeRequestBody{Topic: "tA", ConsumerGroup: "gB", Mode: "PULL"}); err != nil {
		t.Error(err)
	}
}

func TestModesFromOddFiles(t *testing.T) {
	for _, text := range []string{`{}`, `{"messageRequestModeMap":null}`, `{"messageRequestModeMap":{"tA":null},"later":1}`} {
		fs := vfs.NewMem(now)
		if err := fs.MkdirAll("/store/config"); err != nil {
			t.Fatal(err)
		}
		if err := vfs.WriteFileAtomic(fs, "/store/config/messageRequestMode.json", []byte(text)); err != nil {
			t.Fatal(err)
		}
		m := NewModes(fs, "/store", now, quiet())
		if err := m.Load(); err != nil {
			t.Errorf("%s: %v", text, err)
		}
		if err := m.Set(body.SetMessageRequestModeRequestBody{Topic: "tA", ConsumerGroup: "gA", Mode: "POP"}); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}
