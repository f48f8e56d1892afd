package config

import (
	"maps"
	"net"
	"strings"
	"testing"
	"time"

	"apogee/compat/properties"
)

// bind makes a configuration from a properties text.
func bind(t *testing.T, text string) (*Broker, error) {
	t.Helper()
	f, err := properties.Parse("broker.conf", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	b := new(Broker)
	_, err = properties.Bind(f, b)
	return b, err
}

func TestDefaultsAreJavas(t *testing.T) {
	b, err := bind(t, "")
	if err != nil {
		t.Fatal(err)
	}
	fields, err := properties.Fields(b)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range fields {
		k, ok := properties.LookupKey(f.Key)
		if !ok {
			t.Errorf("%s is no key of Java's", f.Key)
			continue
		}
		if want := k.Default(); want != f.Value() && want != "" && !strings.HasPrefix(want, "$") && f.Key != "listenPort" {
			t.Errorf("%s is %q, Java's is %q", f.Key, f.Value(), want)
		}
	}
	if b.ListenPort != 10911 || b.RegisterPeriod != 30*time.Second || b.ChannelMaxIdle != 2*time.Minute {
		t.Errorf("port %d, registration every %v, idle %v", b.ListenPort, b.RegisterPeriod, b.ChannelMaxIdle)
	}
}

func TestWhatKeepsABrokerFromStarting(t *testing.T) {
	const ok = "brokerName=b\n"
	for text, want := range map[string]string{
		ok:                                       "",
		ok + "brokerRole=SLAVE\nbrokerId=1":      "",
		ok + "brokerRole=SLAVE":                  "brokerId=0: a slave's must be above 0",
		ok + "haHousekeepingInterval=0":          "haHousekeepingInterval=0: must be above 0",
		ok + "haTransferBatchSize=0":             "haTransferBatchSize=0",
		ok + "listenPort=70000":                  "listenPort=70000 is no port",
		ok + "listenPort=2":                      "leaves no port for the second listener",
		ok + "listenPort=0":                      "",
		ok + "brokerClusterName=":                "brokerClusterName is empty",
		ok + "defaultTopicQueueNums=0":           "defaultTopicQueueNums=0 must be above 0",
		ok + "flushConsumerOffsetInterval=0":     "must be above 0",
		ok + "consumerOffsetUpdateVersionStep=0": "must be above 0",
		ok + "namesrvAddr=a:1;b":                 `"b" is not host:port`,
		ok + "namesrvAddr=a:1; b:2;":             "",
		"":                                       "brokerName is empty",
	} {
		b, err := bind(t, text)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if err := b.Validate(); err != nil {
			got = err.Error()
		}
		if (want == "") != (got == "") || !strings.Contains(got, want) {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	if _, err := bind(t, "brokerRole=MASTER"); err == nil || !strings.Contains(err.Error(), "ASYNC_MASTER, SYNC_MASTER and SLAVE") {
		t.Errorf("error %v", err)
	}
}

func TestComplete(t *testing.T) {
	ip := func(s string) net.Addr { return &net.IPNet{IP: net.ParseIP(s)} }
	for _, c := range []struct {
		name, conf string
		addrs      []net.Addr
		want       Broker // Name, ID, IP1, IP2
	}{
		{"nothing known", "", nil, Broker{Name: "host", IP1: "127.0.0.1", IP2: "127.0.0.1"}},
		{
			"the first IPv4 that others reach", "",
			[]net.Addr{ip("127.0.0.1"), ip("fe80::1"), ip("fd00::7"), ip("10.1.2.3"), ip("10.1.2.4")},
			Broker{Name: "host", IP1: "10.1.2.3", IP2: "10.1.2.3"},
		},
		{"IPv6 only", "", []net.Addr{ip("::1"), ip("fd00::7")}, Broker{Name: "host", IP1: "fd00::7", IP2: "fd00::7"}},
		{
			"what the file says", "brokerName=n\nbrokerIP1=1.1.1.1\nbrokerIP2=2.2.2.2",
			[]net.Addr{ip("10.1.2.3")},
			Broker{Name: "n", IP1: "1.1.1.1", IP2: "2.2.2.2"},
		},
		{"a master has id 0", "brokerId=3", nil, Broker{Name: "host", IP1: "127.0.0.1", IP2: "127.0.0.1"}},
		{"a slave keeps its id", "brokerId=3\nbrokerRole=SLAVE", nil, Broker{Name: "host", ID: 3, IP1: "127.0.0.1", IP2: "127.0.0.1"}},
	} {
		b, err := bind(t, c.conf)
		if err != nil {
			t.Fatal(err)
		}
		b.Complete("host", c.addrs)
		if got := (Broker{Name: b.Name, ID: b.ID, IP1: b.IP1, IP2: b.IP2}); got != c.want {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
	b := &Broker{IP1: "fd00::7"}
	if got := b.Address(10911); got != "[fd00::7]:10911" {
		t.Errorf("address %s", got)
	}
}

func TestBlackList(t *testing.T) {
	b, _ := bind(t, "configBlackList=a; b;")
	want := map[string]bool{"brokerConfigPath": true, "rocketmqHome": true, "configBlackList": true, "a": true, "b": true}
	if got := b.BlackList(); !maps.Equal(got, want) {
		t.Errorf("got %v", got)
	}
}

func TestLive(t *testing.T) {
	l := NewLive(&Broker{Name: "a"})
	first := l.Get()
	l.Set(&Broker{Name: "b"})
	if first.Name != "a" || l.Get().Name != "b" {
		t.Error("the present configuration is not the last one set")
	}
}
