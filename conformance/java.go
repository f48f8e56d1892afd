package conformance

import (
	"context"
	"path/filepath"
	"strings"
	"time"

	"apogee/internal/testkit"
)

// javaClients runs a small program of ours with the official Java client, of the present release and of the last one of the old line.
func javaClients(t *T) {
	java, err := testkit.FindJava()
	if err != nil {
		t.Skipf("%v", err)
	}
	root, err := testkit.Root()
	t.Must(err, "find the program")
	c := t.ownCluster(nil)
	for _, version := range []string{"", "4.9.7"} {
		release := java
		if version != "" {
			if release, err = java.Release(version); err != nil {
				t.Skipf("client %s: %v", version, err)
			}
		}
		ctx, cancel := context.WithTimeout(context.Background(), 200*time.Second) // the client looks for routes and sends heartbeats every 30 s, and may need a second look
		out, err := release.Run(ctx, filepath.Join(t.tempDir(), "java"+version), nil, "java",
			filepath.Join(root, "conformance", "java", "Client.java"), c.namesrv, "v"+strings.ReplaceAll(version, ".", ""))
		cancel()
		if err != nil || !strings.Contains(out, "ALL PASSED") {
			if len(out) > 1500 {
				out = "..." + out[len(out)-1500:]
			}
			t.Errorf("Java client %s: %v\n%s", version, err, out)
		}
	}
}
