package properties

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

type role int

func (r *role) UnmarshalText(text []byte) error {
	switch string(text) {
	case "ASYNC_MASTER":
		*r = 0
	case "SLAVE":
		*r = 2
	default:
		return errors.New("allowed are ASYNC_MASTER and SLAVE")
	}
	return nil
}

func (r role) MarshalText() ([]byte, error) {
	return []byte([]string{"ASYNC_MASTER", "", "SLAVE"}[r]), nil
}

type identity struct {
	BrokerName string `prop:"brokerName" default:"host"`
	ListenPort int    `prop:"listenPort" default:"10911"`
}

type brokerConf struct {
	identity
	Role     role          `prop:"brokerRole" default:"ASYNC_MASTER" hot:"true"`
	Ratio    float64       `prop:"logicalDiskSpaceCleanForciblyThreshold" default:"0.8"`
	Slow     int64         `prop:"consumerFallbehindThreshold" default:"17179869184"`
	Topics   bool          `prop:"autoCreateTopicEnable" default:"true"`
	Queues   int32         `prop:"defaultTopicQueueNums" default:"8"`
	Interval time.Duration `prop:"flushConsumerOffsetInterval" default:"5000" unit:"ms"`
	Address  string        `prop:"namesrvAddr"`
	Log      *bytes.Buffer `prop:"-"`
	hidden   int
}

type serverConf struct {
	ListenPort int    `prop:"listenPort" default:"8888"`
	BrokerName string `prop:"brokerName"`
}

func parse(t *testing.T, text string) *File {
	t.Helper()
	f, err := Parse("broker.conf", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestBindDefaults(t *testing.T) {
	c := brokerConf{Address: "kept"}
	c.hidden = 7
	if _, err := Bind(nil, &c); err != nil {
		t.Fatal(err)
	}
	want := brokerConf{
		identity: identity{"host", 10911}, Ratio: 0.8, Slow: 16 << 30, Topics: true, Queues: 8, Interval: 5 * time.Second,
		Address: "kept", hidden: 7,
	}
	if c != want {
		t.Fatalf("got  %+v\nwant %+v", c, want)
	}
}

func TestBindOffersEachKeyToAllTargets(t *testing.T) {
	var b brokerConf
	var s serverConf
	rep, err := Bind(parse(t, `
listenPort = 20911  
brokerName=  a b
brokerRole=SLAVE
autoCreateTopicEnable=FALSE
flushConsumerOffsetInterval=250
enablePopLog=true
nobodyKnows=1
`), &b, &s)
	if err != nil {
		t.Fatal(err)
	}
	if b.ListenPort != 20911 || s.ListenPort != 20911 || b.BrokerName != "a b" || s.BrokerName != "a b" {
		t.Errorf("shared keys: %+v %+v", b, s)
	}
	if b.Role != 2 || b.Topics || b.Interval != 250*time.Millisecond {
		t.Errorf("got %+v", b)
	}
	if len(rep.Bound) != 5 || len(rep.Unbound) != 2 {
		t.Errorf("report %+v", rep)
	}
}

func TestBindNamesWhatItCannotRead(t *testing.T) {
	var b brokerConf
	var s serverConf
	_, err := Bind(parse(t, "listenPort=10911x\n\nautoCreateTopicEnable=yes\nbrokerRole=MASTER\n"+
		"defaultTopicQueueNums=3000000000\nlogicalDiskSpaceCleanForciblyThreshold=NaN\nflushConsumerOffsetInterval=1.5\n"+
		"consumerFallbehindThreshold=\n"), &b, &s)
	if !errors.Is(err, ErrValue) {
		t.Fatalf("got %v", err)
	}
	const want = `broker.conf:1: listenPort=10911x: unreadable value: allowed is a whole number from -2147483648 to 2147483647
broker.conf:3: autoCreateTopicEnable=yes: unreadable value: allowed are true and false
broker.conf:4: brokerRole=MASTER: unreadable value: allowed are ASYNC_MASTER and SLAVE
broker.conf:5: defaultTopicQueueNums=3000000000: unreadable value: allowed is a whole number from -2147483648 to 2147483647
broker.conf:6: logicalDiskSpaceCleanForciblyThreshold=NaN: unreadable value: allowed is a decimal number
broker.conf:7: flushConsumerOffsetInterval=1.5: unreadable value: allowed is a whole number from -9223372036854 to 9223372036854
broker.conf:8: consumerFallbehindThreshold=: unreadable value: allowed is a whole number from -9223372036854775808 to 9223372036854775807`
	if err.Error() != want {
		t.Errorf("got\n%v\nwant\n%v", err, want)
	}
	if b.ListenPort != 10911 || b.Queues != 8 || !b.Topics {
		t.Errorf("defaults were touched: %+v", b)
	}
}

func TestBindRefusesWrongTargets(t *testing.T) {
	type wrongKind struct {
		List []string `prop:"list"`
	}
	type noUnit struct {
		D time.Duration `prop:"d"`
	}
	type unexported struct {
		a int `prop:"a"`
	}
	type badDefault struct {
		A int `prop:"a" default:"x"`
	}
	_ = unexported{}.a
	var nilPointer *serverConf
	for _, target := range []any{
		nil, 1, serverConf{}, nilPointer, new(int), &wrongKind{}, &noUnit{}, &unexported{}, &badDefault{},
	} {
		if _, err := Bind(New(""), target); err == nil {
			t.Errorf("%T was taken", target)
		}
	}
}

func TestApplyChangesOnlyWhatIsSet(t *testing.T) {
	b := brokerConf{Slow: 5, Queues: 4}
	if _, err := Apply(parse(t, "defaultTopicQueueNums=16"), &b); err != nil {
		t.Fatal(err)
	}
	if b.Slow != 5 || b.Queues != 16 || b.ListenPort != 0 {
		t.Fatalf("got %+v", b)
	}
	fields, err := Fields(&b)
	if err != nil {
		t.Fatal(err)
	}
	var hot []string
	for _, f := range fields {
		if f.Hot {
			hot = append(hot, f.Key)
		}
	}
	if fmt.Sprint(hot) != "[brokerRole]" {
		t.Fatalf("hot keys %v", hot)
	}
}

func TestSourcesInJavasOrder(t *testing.T) {
	env := map[string]string{
		"NAMESRV_ADDR": "env:1", "ROCKETMQ_HOME": "/env", "ROCKETMQ_SERIALIZE_TYPE": "ROCKETMQ", "OTHER": "x",
	}
	environment := FromEnvironment(func(k string) (string, bool) { v, ok := env[k]; return v, ok })
	system := FromSystemProperties(JavaOptions(`-server -Xmx4g -Drocketmq.namesrv.addr=prop:2 -Dtls.server.mode=enforcing -D`))
	flag := New("option -n")
	flag.Set("namesrvAddr", "flag:4")
	file := parse(t, "namesrvAddr=file:3")

	for _, tc := range []struct {
		layers        []*File
		value, origin string
	}{
		{[]*File{environment}, "env:1", "environment NAMESRV_ADDR"},
		{[]*File{environment, system}, "prop:2", "option -Drocketmq.namesrv.addr"},
		{[]*File{environment, system, file}, "file:3", "broker.conf:1"},
		{[]*File{environment, system, file, flag}, "flag:4", "option -n"},
	} {
		m := Merge("", tc.layers...)
		if e, _ := m.Lookup("namesrvAddr"); e.Value != tc.value || e.Where() != tc.origin {
			t.Errorf("got %s from %s, want %s from %s", e.Value, e.Where(), tc.value, tc.origin)
		}
	}
	m := Merge("", environment, system)
	for key, want := range map[string]string{
		"rocketmqHome": "/env", KeySerializeType: "ROCKETMQ", "tls.server.mode": "enforcing", "OTHER": "",
	} {
		if got, _ := m.Get(key); got != want {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
	}
}

func TestWarnings(t *testing.T) {
	var b brokerConf
	rep, err := Bind(parse(t, `brokerName=a
enablePopLog=true
useEpollNativeSelector=true
fileReservdTime=3
nobodyKnows=1
kvConfigPath=x
enablePopLog=false
`), &b)
	if err != nil {
		t.Fatal(err)
	}
	got := make([]string, 0, 5)
	for _, w := range rep.Warnings(Broker) {
		got = append(got, w.String())
	}
	want := []string{
		"broker.conf:7: enablePopLog: accepted without effect: pop works from the revive topic only, without the RocksDB service; it has no log of its own, and puts wait for nobody",
		"broker.conf:3: useEpollNativeSelector: accepted without effect: it tunes Netty, which Apogee does not use",
		"broker.conf:4: fileReservdTime: unknown key, kept without effect; did you mean fileReservedTime?",
		"broker.conf:5: nobodyKnows: unknown key, kept without effect",
		"broker.conf:6: kvConfigPath: no key of a broker, kept without effect",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Fatalf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestKeyTable(t *testing.T) {
	table, err := readKeys(keysText)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(table.all); n < 600 {
		t.Fatalf("%d keys", n)
	}
	for _, k := range table.all {
		if k.Servers == "" || strings.Trim(k.Servers, "nbck") != "" {
			t.Errorf("%s: servers %q", k.Name, k.Servers)
		}
		switch k.Type {
		case "int", "long":
			// A default may depend on the machine, but not be unreadable.
			var n int64
			if d := k.Default(); d != "" {
				if _, err := fmt.Sscanf(d+"\n", "%d\n", &n); err != nil {
					t.Errorf("%s: default %q: %v", k.Name, d, err)
				}
			}
		case "boolean":
			if d := k.Default(); d != "true" && d != "false" {
				t.Errorf("%s: default %q", k.Name, d)
			}
		}
	}
	for _, bad := range []string{"a\tint", "a\tint\t1\tn\t\tnoSuchReason", "a\tint\t1\tn\t\t-\na\tint\t1\tn\t\t-"} {
		if _, err := readKeys(bad); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

func TestPrint(t *testing.T) {
	src := parse(t, "listenPort=1\nbrokerName=a\nenablePopLog=true\nmyPlugin.key=x")
	var b brokerConf
	var s serverConf
	if _, err := Bind(src, &b, &s); err != nil {
		t.Fatal(err)
	}
	var all, important bytes.Buffer
	if err := Print(&all, Broker, false, src, &b, &s); err != nil {
		t.Fatal(err)
	}
	if err := Print(&important, Broker, true, src, &b, &s); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"brokerRole=ASYNC_MASTER", "listenPort=1", "flushConsumerOffsetInterval=5000", "enablePopLog=true", "myPlugin.key=x",
		"logicalDiskSpaceCleanForciblyThreshold=0.8", "warmMapedFileEnable=false", "dLegerGroup=",
	} {
		if n := strings.Count("\n"+all.String(), "\n"+line+"\n"); n != 1 {
			t.Errorf("%s is printed %d times", line, n)
		}
	}
	if strings.Contains(all.String(), "kvConfigPath") {
		t.Error("a name server's key is printed for a broker")
	}
	if !strings.Contains(important.String(), "brokerName=a\n") || strings.Contains(important.String(), "enablePopLog") {
		t.Errorf("important:\n%s", important.String())
	}
	// What is printed is a file that gives the same configuration again.
	again := parse(t, all.String())
	var b2 brokerConf
	var s2 serverConf
	if _, err := Bind(again, &b2, &s2); err != nil || b2 != b || s2 != s {
		t.Errorf("printed and read: %+v %+v, %v", b2, s2, err)
	}
}
