package remoting

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// certificate is self-signed, for 127.0.0.1, and bears name.
func certificate(t *testing.T, name string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	x := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<33, 0), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, x, x, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func policy(mode string, cert func() tls.Certificate) *TLSPolicy {
	return &TLSPolicy{Mode: mode, Config: func() (*tls.Config, error) { return &tls.Config{Certificates: []tls.Certificate{cert()}}, nil }}
}

func certFunc(c tls.Certificate) func() tls.Certificate { return func() tls.Certificate { return c } }

// tlsClient speaks TLS over nc and trusts everybody.
func tlsClient(nc net.Conn) net.Conn { return tls.Client(nc, &tls.Config{InsecureSkipVerify: true}) }

func TestTLSModes(t *testing.T) {
	cert := certificate(t, "one")
	roots := x509.NewCertPool()
	roots.AddCert(cert.Leaf)
	for _, tc := range []struct {
		mode       string
		plain, tls bool
	}{
		{"disabled", true, false}, {"permissive", true, true}, {"enforcing", false, true}, {"what is this", true, true},
	} {
		t.Run(tc.mode, func(t *testing.T) {
			s := startServer(t, ServerOptions{
				TLS: policy(tc.mode, certFunc(cert)), Routes: []Route{{Code: 1, Handle: echo}},
			})
			call := func(cfg *tls.Config) bool {
				c := startClient(t, ClientOptions{TLS: cfg})
				resp, err := c.Call(testContext(t), s.Addr().String(), Outgoing{Code: 1, Body: []byte(strings.Repeat("x", 1<<20))})
				return err == nil && len(resp.Body) == 1<<20
			}
			if got := call(nil); got != tc.plain {
				t.Errorf("plain: %v, want %v", got, tc.plain)
			}
			if got := call(&tls.Config{RootCAs: roots}); got != tc.tls {
				t.Errorf("TLS: %v, want %v", got, tc.tls)
			}
		})
	}
}

func TestNewCertificateCountsFromTheNextHandshake(t *testing.T) {
	var current atomic.Pointer[tls.Certificate]
	one, two := certificate(t, "one"), certificate(t, "two")
	current.Store(&one)
	s := startServer(t, ServerOptions{
		TLS: policy("enforcing", func() tls.Certificate { return *current.Load() }), Routes: []Route{{Code: 1, Handle: echo}},
	})
	nameSeen := func() string {
		c, err := tls.Dial("tcp", s.Addr().String(), &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		return c.ConnectionState().PeerCertificates[0].DNSNames[0]
	}
	if got := nameSeen(); got != "one" {
		t.Errorf("certificate is %q", got)
	}
	current.Store(&two)
	if got := nameSeen(); got != "two" {
		t.Errorf("certificate is %q after the reload", got)
	}
}

func TestTLSHandshakesThatFail(t *testing.T) {
	cert := certificate(t, "one")
	var broken atomic.Bool
	var log logBuffer
	p := policy("permissive", certFunc(cert))
	good := p.Config
	p.Config = func() (*tls.Config, error) {
		if broken.Load() {
			return nil, errors.New("no such key file")
		}
		return good()
	}
	s := startServer(t, ServerOptions{TLS: p, Log: log.logger(), Limits: Limits{Handshake: 30 * time.Millisecond}})
	ends := func(what, want string, in []byte) {
		t.Helper()
		nc := dialRaw(t, s)
		mustWrite(t, nc, in)
		if _, err := io.ReadAll(nc); err != nil && !isGone(err) {
			t.Errorf("%s: %v", what, err)
		}
		eventually(t, what, func() bool { return strings.Contains(log.String(), want) })
	}
	ends("a handshake that stalls", "deadline", []byte{0x16, 3, 1})
	ends("no handshake at all", "TLS handshake", append([]byte{0x16, 3, 1, 0, 4}, "junk"...))
	broken.Store(true)
	ends("a configuration that can't be read", "no such key file", []byte{0x16, 3, 1})
}

func TestSlowReaderOverTLS(t *testing.T) {
	cert := certificate(t, "one")
	const n, answer = 300, 100 << 10
	s := startServer(t, ServerOptions{
		TLS: policy("permissive", certFunc(cert)), Limits: Limits{WriteHighMark: 200 << 10},
		Routes: []Route{{Code: 1, Handle: func(r *Request) { r.Reply(&Reply{Body: make([]byte, answer)}) }}},
	})
	c, err := tls.Dial("tcp", s.Addr().String(), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	mustWrite(t, c, []byte(strings.Repeat(string(jsonFrame(`{"code":1}`, "")), n)))
	for range n {
		if _, r := readFrame(t, c); len(r.Body) != answer {
			t.Fatalf("answer has %d bytes", len(r.Body))
		}
	}
}
