package processor_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"apogee/broker"
	"apogee/compat/properties"
	"apogee/internal/testkit"
	"apogee/remoting"
	"apogee/remoting/header"
	"apogee/store"
	"apogee/store/record"
)

// The scenario (java_scenario_test.go) was played to a Java broker that had just been started; testdata/java.json has what it
// answered and stored. TestAgainstJava plays it to ours, over the network, and compares.
//
// With APOGEE_ORACLE set to the oracle script, TestJavaStillSaysSo starts a Java broker and compares the file with it; with
// -update it writes the file. Volatile values (times, ports, keys that the broker makes) are replaced by words before comparing.
var update = flag.Bool("update", false, "write testdata/java.json from the Java broker that APOGEE_ORACLE starts")

const javaFile = "testdata/java.json"

// settings are those of both brokers.
var settings = map[string]string{
	"brokerName": "broker-a", "brokerClusterName": "DefaultCluster", "brokerIP1": "127.0.0.1", "timerWheelEnable": "false",
	"mappedFileSizeCommitLog": "67108864", "mappedFileSizeConsumeQueue": "600000",
}

// step is one request of the scenario.
type step struct {
	name string
	code int32
	ext  map[string]string
	body []byte

	until   [2]string // ask again until this field has this value
	anyText bool      // Java's remark is the text of an exception
	differs string    // why our answer is not Java's
}

// answer is what is kept of an answer.
type answer struct {
	Step    string            `json:"step"`
	Code    int32             `json:"code"`
	Remark  string            `json:"remark,omitempty"`
	Ext     map[string]string `json:"ext,omitempty"`
	Records []stored          `json:"records,omitempty"`
}

// stored is a record of a body, without what differs from run to run.
type stored struct {
	Topic      string   `json:"topic"`
	Queue      int32    `json:"queue"`
	Offset     int64    `json:"offset"`
	Physical   int64    `json:"physical"`
	Size       int32    `json:"size"`
	Flag       int32    `json:"flag,omitempty"`
	SysFlag    int32    `json:"sysFlag,omitempty"`
	Born       int64    `json:"born"`
	BornHost   string   `json:"bornHost"`
	Reconsume  int32    `json:"reconsumeTimes,omitempty"`
	Prepared   int64    `json:"prepared,omitempty"`
	Body       string   `json:"body"`
	Properties []string `json:"properties"`
}

// player plays the scenario to a broker.
type player struct {
	t      *testing.T
	where  string // the log offset of the first message that was found by key kk: {tP} in the scenario
	addr   string
	client *remoting.Client
}

func play(t *testing.T, addr string) []answer {
	t.Helper()
	p := &player{t: t, addr: addr, client: remoting.NewClient(remoting.ClientOptions{})}
	defer p.client.Close()
	var out []answer
	for _, s := range scenario() {
		if a := p.ask(s); s.name != "" {
			out = append(out, a)
		}
	}
	return out
}

func (p *player) ask(s step) answer {
	deadline := time.Now().Add(10 * time.Second)
	for {
		a := p.once(s)
		switch {
		case s.until[0] == "" || a.Ext[s.until[0]] == s.until[1]:
			return a
		case time.Now().After(deadline):
			p.t.Errorf("%d %v: %s is %s, and does not get %s", s.code, s.ext, s.until[0], a.Ext[s.until[0]], s.until[1])
			return a
		}
		<-time.After(5 * time.Millisecond)
	}
}

func (p *player) once(s step) answer {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var f header.Fields
	for _, k := range slices.Sorted(maps.Keys(s.ext)) {
		f = append(f, header.Pair{Key: k, Value: strings.ReplaceAll(s.ext[k], "{tP}", p.where)})
	}
	res, err := p.client.Call(ctx, p.addr, remoting.Outgoing{Code: s.code, Header: f, Body: s.body})
	if err != nil {
		p.t.Errorf("%s: %v", s.name, err)
		return answer{Step: s.name, Code: -1, Remark: err.Error()}
	}
	a := answer{Step: s.name, Code: res.Code, Remark: res.Remark}
	if s.anyText && a.Remark != "" {
		a.Remark = "<text>"
	}
	if i := strings.Index(a.Remark, ": 127.0.0.1:"); i >= 0 {
		a.Remark = a.Remark[:i] + ": <client>"
	}
	if i := strings.Index(a.Remark, "[/127.0.0.1:"); i >= 0 {
		a.Remark = a.Remark[:i] + "[<client>]"
	}
	if len(res.Fields) > 0 {
		a.Ext = map[string]string{}
	}
	for _, f := range res.Fields {
		a.Ext[f.Key] = plain(f.Key, f.Value, s)
	}
	if s.name == "" && s.code != 12 {
		return a // what only prepares the ground
	}
	a.Records = p.records(s.name, res.Body)
	if p.where == "" && s.code == 12 && len(a.Records) > 0 {
		p.where = fmt.Sprint(a.Records[len(a.Records)-1].Physical)
	}
	return a
}

// plain replaces what differs from run to run.
func plain(key, value string, s step) string {
	switch key {
	case "msgId":
		ids := strings.Split(value, ",")
		for i, id := range ids {
			if len(id) == 32 {
				ids[i] = id[16:]
			}
		}
		return strings.Join(ids, ",")
	case "transactionId":
		if !strings.Contains(s.ext["properties"]+s.ext["i"], "\x01"+value) {
			return fmt.Sprintf("<made, %d>", len(value))
		}
	case "timestamp", "indexLastUpdateTimestamp":
		if len(value) == 13 {
			return "<time>"
		}
	}
	return value
}

func (p *player) records(name string, body []byte) []stored {
	var out []stored
	for len(body) > 0 {
		var m record.Message
		if err := record.Decode(body, &m); err != nil {
			p.t.Errorf("%s: %v", name, err)
			return out
		}
		body = body[m.StoreSize:]
		r := stored{
			Topic: m.Topic, Queue: m.QueueID, Offset: m.QueueOffset, Physical: m.PhysicalOffset, Size: m.StoreSize, Flag: m.Flag,
			SysFlag: m.SysFlag, Born: m.BornTimestamp, BornHost: m.BornHost.Addr().String(), Reconsume: m.ReconsumeTimes,
			Prepared: m.PreparedTransactionOffset, Body: string(m.Body),
		}
		for c := record.Pairs([]byte(m.Properties)); c.Next(); {
			k, v := string(c.Name), string(c.Value)
			switch {
			case k == "ORIGIN_MESSAGE_ID" && len(v) == 32:
				v = v[16:]
			case k == "UNIQ_KEY" && len(v) == 32:
				v = "<made>"
			}
			r.Properties = append(r.Properties, k+"="+v)
		}
		slices.Sort(r.Properties)
		out = append(out, r)
	}
	return out
}

// compare reports where got is not as want, except in the steps that say why they differ.
func compare(t *testing.T, want, got []answer) {
	t.Helper()
	differs := map[string]string{}
	for _, s := range scenario() {
		differs[s.name] = s.differs
	}
	if len(want) != len(got) {
		t.Fatalf("%d answers, want %d; the file is from another scenario, see the top of java_test.go", len(got), len(want))
	}
	for i := range want {
		same := reflect.DeepEqual(normal(want[i]), normal(got[i]))
		switch why := differs[want[i].Step]; {
		case same && why != "":
			t.Errorf("%s: the answer is the same, but the scenario says: %s", want[i].Step, why)
		case !same && why == "":
			t.Errorf("%s\n got %s\nwant %s", want[i].Step, text(got[i]), text(want[i]))
		}
	}
}

func normal(a answer) answer {
	if len(a.Ext) == 0 {
		a.Ext = nil
	}
	return a
}

func text(a answer) string {
	b, _ := json.Marshal(a)
	return string(b)
}

func golden(t *testing.T) []answer {
	t.Helper()
	b, err := os.ReadFile(javaFile)
	if err != nil {
		t.Fatal(err)
	}
	var want []answer
	if err := json.Unmarshal(b, &want); err != nil {
		t.Fatal(err)
	}
	return want
}

// startBroker runs a broker on a free port.
func startBroker(t *testing.T, more map[string]string) *broker.Broker {
	t.Helper()
	var b strings.Builder
	all := maps.Clone(settings)
	all["storePathRootDir"], all["listenPort"], all["bindAddress"] = t.TempDir(), "0", "127.0.0.1"
	maps.Copy(all, more)
	for _, k := range slices.Sorted(maps.Keys(all)) {
		fmt.Fprintf(&b, "%s=%s\n", k, all[k])
	}
	file, err := properties.Parse("broker.conf", []byte(b.String()))
	if err != nil {
		t.Fatal(err)
	}
	cfg, opts := new(broker.Config), store.Defaults()
	if _, err := properties.Bind(file, cfg, &opts); err != nil {
		t.Fatal(err)
	}
	cfg.Complete("broker-a", nil)
	br, err := broker.New(cfg, opts, broker.Env{Settings: file, Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	if err := br.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := br.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	})
	return br
}

func TestAgainstJava(t *testing.T) {
	if *update {
		t.Skip("SKIPPED, nothing is compared: -update has TestJavaStillSaysSo write the file that this reads; run without it")
	}
	b := startBroker(t, nil)
	compare(t, golden(t), play(t, b.Addr().String()))
}

func TestJavaStillSaysSo(t *testing.T) {
	if os.Getenv("APOGEE_ORACLE") == "" {
		t.Skip("SKIPPED: the recorded answers are not compared with a live Java broker: set APOGEE_ORACLE to oracle.sh for that")
	}
	java, err := testkit.FindJava()
	if err != nil {
		t.Skipf("SKIPPED: the recorded answers are not compared with a live Java broker: %v", err)
	}
	dir := t.TempDir()
	ns, err := java.Namesrv(dir+"/ns", testkit.Props{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ns.Stop() }()
	conf := testkit.Props{}
	for k, v := range settings {
		conf[k] = v
	}
	b, err := java.Broker(dir+"/broker", ns.Addr(), conf)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = b.Stop() }()
	got := play(t, b.Addr())
	if *update {
		out, err := json.MarshalIndent(got, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(javaFile, append(out, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want := golden(t)
	if len(want) != len(got) {
		t.Fatalf("%d answers, want %d", len(got), len(want))
	}
	for i := range want {
		if !reflect.DeepEqual(normal(want[i]), normal(got[i])) {
			t.Errorf("%s\nJava says %s\nthe file   %s", want[i].Step, text(got[i]), text(want[i]))
		}
	}
}
