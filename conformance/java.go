package conformance

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"apogee/internal/testkit"
)

// javaProgram runs a program of conformance/java with the official Java client of the present release, and returns what it has printed; it
// fails the case unless the program passes.
func (t *T) javaProgram(name string, args ...string) string {
	java, err := testkit.FindJava()
	if err != nil {
		t.Skipf("%v", err)
	}
	return t.javaProgramOf(java, name, args...)
}

// javaProgramOf is javaProgram with the client of some release.
func (t *T) javaProgramOf(release *testkit.Java, name string, args ...string) string {
	root, err := testkit.Root()
	t.Must(err, "find the program")
	classes, err := release.Classes(filepath.Join(root, "conformance", "java", name+".java"))
	t.Must(err, "make the program")
	ctx, cancel := context.WithDeadline(context.Background(), t.ctxEnd)
	defer cancel()
	dir := filepath.Join(t.tempDir(), "java"+release.Version+"-"+name)
	out, err := release.Run(ctx, dir, []string{"ORACLE_CLASSPATH=" + classes}, append([]string{"java", name}, args...)...)
	if err != nil || !strings.Contains(out, "ALL PASSED") {
		t.Fatalf("%s, Java client %s: %v\n%s", name, release.Version, err, out[max(0, len(out)-2500):]+complaints(dir))
	}
	return out
}

// complaints is what the client has logged last that is not as it should be.
func complaints(dir string) string {
	files, _ := filepath.Glob(filepath.Join(dir, "home", "logs", "rocketmqlogs", "*.log"))
	var out []string
	for _, file := range files {
		text, _ := os.ReadFile(file)
		for line := range strings.Lines(string(text)) {
			if strings.Contains(line, " WARN ") || strings.Contains(line, " ERROR ") {
				out = append(out, fmt.Sprintf("%s: %.300s", filepath.Base(file), line))
			}
		}
	}
	return strings.Join(out[max(0, len(out)-20):], "")
}

// javaClients runs a small program of ours with the official Java client, of the present release and of the last one of the old line.
func javaClients(t *T) {
	java, err := testkit.FindJava()
	if err != nil {
		t.Skipf("%v", err)
	}
	c := t.ownCluster(nil)
	for _, version := range []string{"", "4.9.7"} {
		release := java
		if version != "" {
			if release, err = java.Release(version); err != nil {
				t.Skipf("client %s: %v", version, err)
			}
		}
		t.javaProgramOf(release, "Client", c.namesrv, "v"+strings.ReplaceAll(version, ".", ""))
	}
}
