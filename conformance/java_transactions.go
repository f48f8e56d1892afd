package conformance

import (
	"context"
	"path/filepath"
	"strings"
	"time"

	"apogee/internal/testkit"
)

// javaTransactions has the official Java client end transactions in every way that it can.
func (t *T) javaTransactions(c *cluster) {
	java, err := testkit.FindJava()
	if err != nil {
		t.Logf("the Java client was not asked: %v", err)
		return
	}
	root, err := testkit.Root()
	t.Must(err, "find the program")
	ctx, cancel := context.WithTimeout(context.Background(), 150*time.Second)
	defer cancel()
	out, err := java.Run(ctx, filepath.Join(t.tempDir(), "java"), nil, "java", filepath.Join(root, "conformance", "java", "Transactions.java"), c.namesrv, t.Name("T"))
	if err != nil || !strings.Contains(out, "ALL PASSED") {
		if len(out) > 1500 {
			out = "..." + out[len(out)-1500:]
		}
		t.Errorf("Java client: %v\n%s", err, out)
	}
}
