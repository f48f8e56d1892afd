package conformance

import (
	"context"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"apogee/internal/testkit"
)

// haTools runs the commands of Java's mqadmin that concern replication against a master and its slave.
func (p *pair) haTools() {
	java, err := testkit.FindJava()
	if err != nil {
		p.Logf("no mqadmin: %v", err)
		return
	}
	admin := func(args ...string) string {
		out := ""
		for range 3 { // now and then it finds no address of the machine, and gives up
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			out, err = java.Run(ctx, filepath.Join(p.tempDir(), "mqadmin"), []string{"NAMESRV_ADDR=" + p.namesrv}, append([]string{"admin"}, args...)...)
			cancel()
			if !strings.Contains(out, `"localHost" is null`) {
				break
			}
		}
		p.Must(err, "mqadmin %v: %s", args, out)
		return out
	}
	// says looks for lines, in order, with blanks as they come.
	says := func(out, what string, lines ...string) {
		text := blanks.ReplaceAllString(out, " ")
		for _, want := range lines {
			i := strings.Index(text, want)
			if i < 0 {
				p.Errorf("%s: %s: %q is missing in\n%s", p.what, what, want, out)
				return
			}
			text = text[i+len(want):]
		}
	}
	name := strings.TrimSuffix(filepath.Base(p.master.Dir()), "-m")
	master := []string{"#MasterAddr " + p.master.Addr(), "#MasterCommitLogMaxOffset ", "#SlaveNum 1", "#InSyncSlaveNum 1", "#SlaveAddr", "127.0.0.1:", " 0 ", "OK"}
	slave := []string{"#MasterAddr " + p.haAddr, "#CommitLogMaxOffset ", "#TransferSpeed", "#LastReadTime", "#LastWriteTime", "#MasterFlushOffset"}
	says(admin("haStatus", "-b", p.master.Addr()), "haStatus of the master", master...)
	says(admin("haStatus", "-b", p.slave.Addr()), "haStatus of the slave", slave...)
	says(admin("haStatus", "-c", clusterName), "haStatus of the cluster", "#MasterAddr "+p.master.Addr(), "#InSyncSlaveNum 1")
	says(admin("resetMasterFlushOffset", "-b", p.slave.Addr(), "-o", "4711"), "resetMasterFlushOffset", "success")
	says(admin("haStatus", "-b", p.slave.Addr()), "haStatus after it", "#MasterFlushOffset 4711")
	says(admin("brokerStatus", "-b", p.slave.Addr()), "brokerStatus of the slave", "brokerActive", "commitLogMaxOffset")
	// There is no controller: the request for it is refused, and the tools say so.
	says(admin("getSyncStateSet", "-a", p.master.Addr(), "-b", name), "getSyncStateSet", "request type 1005 not supported")
	says(admin("getBrokerEpoch", "-b", name), "getBrokerEpoch", "this request only for controllerMode")
}

var blanks = regexp.MustCompile(`[ \t]+`)
