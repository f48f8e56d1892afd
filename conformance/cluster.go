package conformance

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"apogee/conformance/wire"
	"apogee/internal/testkit"
	"apogee/remoting/code"
)

// clusterName is the cluster of every broker that the suite starts.
const clusterName = "ConformanceCluster"

// cluster is a name server and the broker that the shared cases use.
type cluster struct {
	namesrv    string
	broker     string // address
	brokerName string
	servers    []testkit.Server // brokers first; none of a running cluster
}

// baseConf are the settings of every broker of the suite: no waiting for a full disk's sake, no expiry, small files.
func baseConf(name string) testkit.Props {
	return testkit.Props{
		"brokerClusterName": clusterName, "brokerName": name, "brokerId": "0", "deleteWhen": "04", "fileReservedTime": "87600",
		"mappedFileSizeCommitLog": "67108864", "mappedFileSizeConsumeQueue": "60000", "maxHashSlotNum": "5000", "maxIndexNum": "20000",
		// The reference answers SYSTEM_BUSY when a busy machine lets requests wait; that is not what is tested here.
		"waitTimeMillsInSendQueue": "20000", "osPageCacheBusyTimeOutMills": "20000", "diskMaxUsedSpaceRatio": "95",
	}
}

func startCluster(target testkit.Target, dir, name string, conf testkit.Props) (*cluster, error) {
	ns, err := target.Namesrv(filepath.Join(dir, "ns"), nil)
	if err != nil {
		return nil, err
	}
	c := &cluster{namesrv: ns.Addr(), brokerName: name, servers: []testkit.Server{ns}}
	b, err := target.Broker(filepath.Join(dir, name), ns.Addr(), baseConf(name).With(conf))
	if err != nil {
		c.stop()
		return nil, err
	}
	c.servers = append([]testkit.Server{b}, c.servers...)
	c.broker = b.Addr()
	return c, c.ready()
}

// ready waits until the name server knows the broker.
func (c *cluster) ready() error {
	conn, err := wire.Dial(c.namesrv)
	if err != nil {
		return err
	}
	defer conn.Close()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(15 * time.Millisecond) {
		f, err := conn.Call(int(code.GetBrokerClusterInfo), nil, nil)
		if err != nil {
			return err
		}
		v, err := wire.Loose(f.Body)
		if err == nil && wire.At(v, "brokerAddrTable", c.brokerName, "brokerAddrs", "0") == c.broker {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("broker %s is not at the name server: %s", c.broker, f.Body)
		}
	}
}

// find fills in the broker of a running cluster: the first one with a master.
func (c *cluster) find() error {
	conn, err := wire.Dial(c.namesrv)
	if err != nil {
		return err
	}
	defer conn.Close()
	f, err := conn.Call(int(code.GetBrokerClusterInfo), nil, nil)
	if err != nil {
		return err
	}
	v, err := wire.Loose(f.Body)
	if err != nil {
		return err
	}
	brokers, _ := wire.At(v, "brokerAddrTable").(map[string]any)
	for name, b := range brokers {
		if addr, ok := wire.At(b, "brokerAddrs", "0").(string); ok {
			c.brokerName, c.broker = name, addr
			return nil
		}
	}
	return fmt.Errorf("name server %s knows no master: %s", c.namesrv, f.Body)
}

func (c *cluster) stop() {
	for _, s := range c.servers {
		_ = s.Stop()
	}
}

// needTarget skips a case that starts servers when the suite runs against a running cluster.
func (t *T) needTarget() testkit.Target {
	if t.Target == nil {
		t.Skipf("it starts servers of its own, and nothing is started with -namesrv; run with -target")
	}
	return t.Target
}

// ownCluster starts a cluster for this case alone.
func (t *T) ownCluster(conf testkit.Props) *cluster {
	name := strings.ReplaceAll(t.Name("broker"), "_", "-")
	c, err := startCluster(t.needTarget(), filepath.Join(t.tempDir(), "of-"+name), name, conf)
	t.Must(err, "start a cluster")
	t.Cleanup(c.stop)
	return c
}

// ownNamesrv starts a name server for this case alone.
func (t *T) ownNamesrv(conf testkit.Props) testkit.Server {
	s, err := t.needTarget().Namesrv(filepath.Join(t.tempDir(), t.Name("ns")), conf)
	t.Must(err, "start a name server")
	t.Cleanup(func() { _ = s.Stop() })
	return s
}

// ownBroker starts a broker for this case alone.
func (t *T) ownBroker(namesrv string, conf testkit.Props) testkit.Server {
	name := strings.ReplaceAll(t.Name("broker"), "_", "-")
	s, err := t.needTarget().Broker(filepath.Join(t.tempDir(), name), namesrv, baseConf(name).With(conf))
	t.Must(err, "start a broker")
	t.Cleanup(func() { _ = s.Stop() })
	return s
}

// tempDir is a folder for this case's files.
func (t *T) tempDir() string {
	t.Must(os.MkdirAll(t.dir, 0o755), "make a folder")
	return t.dir
}

func (c *cluster) brokerServer() testkit.Server { return c.servers[0] }
