package remoting

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// copying is a connection that looks at what it is to write, as TLS does.
type copying struct{ net.Conn }

func (copying) Write(b []byte) (int, error) { return len(append([]byte(nil), b...)), nil }

func TestMappedMemoryThatIsGone(t *testing.T) {
	f, err := os.OpenFile(filepath.Join(t.TempDir(), "f"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(8192); err != nil {
		t.Fatal(err)
	}
	b, err := unix.Mmap(int(f.Fd()), 0, 8192, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Munmap(b) }()
	if n, err := writeMapped(&net.Buffers{b}, copying{}); n != 8192 || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	if err := f.Truncate(0); err != nil {
		t.Fatal(err)
	}
	if _, err := writeMapped(&net.Buffers{b}, copying{}); !errors.Is(err, syscall.EFAULT) {
		t.Fatalf("%v", err)
	}
}
