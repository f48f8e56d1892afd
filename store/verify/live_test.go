package verify_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/fstest"

	"apogee/store"
	"apogee/store/record"
	"apogee/store/verify"
)

// TestWhileTheStoreWrites looks at a directory again and again while messages are put: nothing of it is damage.
func TestWhileTheStoreWrites(t *testing.T) {
	dir := t.TempDir()
	o := store.Defaults()
	o.RootDir = dir
	o.MappedFileSizeCommitLog, o.MappedFileSizeConsumeQueue = 1<<20, 4000
	o.MaxHashSlotNum, o.MaxIndexNum = 500, 3000
	s, err := store.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	put := func(topic string, from int) {
		for i := from; i < from+500; i++ {
			body := fmt.Appendf(nil, "%0*d", 10+i%2000, i)
			host := netip.MustParseAddrPort("127.0.0.1:10911")
			m := record.Message{Topic: topic, QueueID: int32(i % 3), Body: body, BodyCRC: record.BodyCRC(body), BornHost: host, StoreHost: host, BornTimestamp: 1}
			m.Properties = string(record.AppendProperty(nil, record.PropUniqKey, fmt.Sprint(topic, i)))
			if r := s.PutWait(&m); r.Status != store.PutOK {
				t.Errorf("put: %v", r.Status)
				return
			}
		}
	}
	put("T0", 0)
	for n := range 2 {
		wg.Go(func() {
			for i := 500; ; i += 500 {
				select {
				case <-stop:
					return
				default:
					put(fmt.Sprint("T", n), i)
				}
			}
		})
	}
	for range 4 {
		var list []verify.Finding
		res, err := verify.Run(context.Background(), verify.Options{
			Root: os.DirFS(dir), Live: true, IndexSlots: 500, IndexEntries: 3000, Report: func(f verify.Finding) { list = append(list, f) },
		})
		if err != nil || !res.Sound() || res.Unreadable != 0 {
			t.Errorf("found %+v in %+v, %v", list, res, err)
		}
	}
	close(stop)
	wg.Wait()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if res, list := look(t, dir); !res.Sound() || res.Entries != res.Records || res.Entries == 0 {
		t.Errorf("after the end: found %+v in %+v", list, res)
	}
}

func TestOtherFolders(t *testing.T) {
	dir := t.TempDir()
	if _, err := verify.Run(context.Background(), verify.Options{Root: os.DirFS(dir)}); !errors.Is(err, verify.ErrNoStore) {
		t.Errorf("an empty folder: %v", err)
	}
	if _, err := verify.Run(context.Background(), verify.Options{Root: os.DirFS(filepath.Join(dir, "nothing"))}); err == nil {
		t.Error("a folder that is not there was looked at")
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := verify.Run(ctx, verify.Options{Root: fstest.MapFS{"config/topics.json": {Data: []byte("{}")}}}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func FuzzRun(f *testing.F) {
	host := netip.MustParseAddrPort("127.0.0.1:10911")
	m := record.Message{Topic: "T", Body: []byte("hello"), BodyCRC: record.BodyCRC([]byte("hello")), BornHost: host, StoreHost: host, StoreTimestamp: 1}
	m.Properties = "UNIQ_KEY\x01a\x02"
	layout, err := m.Measure(false)
	if err != nil {
		f.Fatal(err)
	}
	log := make([]byte, 1024)
	record.Encode(log, &m, layout)
	entry := make([]byte, 60)
	entry[11] = byte(layout.Total)
	index := make([]byte, 40+8+40)
	index[39] = 2
	f.Add(log, entry, index)
	f.Add(append(log[:100:100], log...), append([]byte{0, 0, 0, 0, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0}, entry...), index)
	f.Fuzz(func(t *testing.T, log, queue, index []byte) {
		if len(log)+len(queue)+len(index) > 1<<16 {
			return
		}
		name := fmt.Sprintf("%020d", 0)
		files := fstest.MapFS{
			"commitlog/" + name: {Data: log}, "consumequeue/T/0/" + name: {Data: queue}, "batchconsumequeue/U/0/" + name: {Data: queue},
			"checkpoint": {Data: queue}, "index/20260101000000000": {Data: index}, "consumequeue_ext/T/0/" + name: {Data: index},
		}
		for _, slots := range []int32{0, 2} {
			n := 0
			_, err := verify.Run(context.Background(), verify.Options{Root: files, IndexSlots: slots, IndexEntries: slots, Report: func(verify.Finding) { n++ }})
			if err != nil && !errors.Is(err, verify.ErrNoStore) {
				t.Fatal(err)
			}
			if most := 100 + len(log) + len(queue) + len(index); n > most {
				t.Fatalf("%d findings", n)
			}
		}
	})
}
