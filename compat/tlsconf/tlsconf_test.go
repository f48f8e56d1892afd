package tlsconf

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"apogee/compat/properties"
)

// The keys and the certificate of testdata belong together and to nothing else; openssl made them (pkcs8 -topk8 -v2 ..., password apogee).

var quietLog = slog.New(slog.DiscardHandler)

func clock() func() time.Time {
	t := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	return func() time.Time { return t }
}

func config(t *testing.T, text string) *Config {
	t.Helper()
	f, err := properties.Parse("tls.properties", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	c := new(Config)
	if _, err := properties.Bind(f, c); err != nil {
		t.Fatal(err)
	}
	return c
}

// handshake connects a client to a server and returns both errors and the certificate that the client saw.
func handshake(t *testing.T, server, client *tls.Config) (seen *x509.Certificate, serverErr, clientErr error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			done <- err
			return
		}
		defer c.Close()
		s := tls.Server(c, server)
		if err = s.Handshake(); err == nil {
			_, err = s.Write([]byte{1})
		}
		done <- err
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	tc := tls.Client(c, client)
	if clientErr = tc.Handshake(); clientErr == nil {
		_, clientErr = tc.Read(make([]byte, 1)) // TLS 1.3 tells a refused client certificate here
		seen = tc.ConnectionState().PeerCertificates[0]
	} else {
		c.Close()
	}
	return seen, <-done, clientErr
}

func serve(t *testing.T, c *Config) *tls.Config {
	t.Helper()
	get, err := c.Server(os.ReadFile, clock(), quietLog)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := get()
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func TestTestModeShowsACertificateOfItsOwn(t *testing.T) {
	c := config(t, "useTLS=true")
	client, err := c.Client(os.ReadFile)
	if err != nil {
		t.Fatal(err)
	}
	seen, serverErr, clientErr := handshake(t, serve(t, c), client)
	if serverErr != nil || clientErr != nil || seen.Subject.CommonName != "localhost" {
		t.Errorf("%v, %v, %v", seen, serverErr, clientErr)
	}
	if c.ServerMode() != "permissive" {
		t.Error(c.ServerMode())
	}
}

func TestFilesAndMutualAuthentication(t *testing.T) {
	server := config(t, `
tls.test.mode.enable=false
tls.server.certPath=testdata/cert.pem
tls.server.keyPath=testdata/key-aes-256-cbc.pem
tls.server.keyPassword=apogee
tls.server.need.client.auth=require
tls.server.authClient=true
tls.server.trustCertPath=testdata/cert.pem
tls.protocols=TLSv1.2
tls.ciphers=TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256`)
	const common = "useTLS=true\ntls.test.mode.enable=false\n"
	for name, tc := range map[string]struct {
		client   string
		accepted bool
	}{
		"client without certificate": {common, false},
		"client with certificate":    {common + "tls.client.certPath=testdata/cert.pem\ntls.client.keyPath=testdata/key.pem", true},
		"client that checks the server": {
			common + "tls.client.certPath=testdata/cert.pem\ntls.client.keyPath=testdata/key.pem\n" +
				"tls.client.authServer=true\ntls.client.trustCertPath=testdata/cert.pem", true,
		},
		"client that trusts only the system": {
			common + "tls.client.certPath=testdata/cert.pem\ntls.client.keyPath=testdata/key.pem\ntls.client.authServer=true", false,
		},
	} {
		t.Run(name, func(t *testing.T) {
			client, err := config(t, tc.client).Client(os.ReadFile)
			if err != nil {
				t.Fatal(err)
			}
			_, serverErr, clientErr := handshake(t, serve(t, server), client)
			if ok := serverErr == nil && clientErr == nil; ok != tc.accepted {
				t.Errorf("server %v, client %v", serverErr, clientErr)
			}
		})
	}
}

func TestReload(t *testing.T) {
	files := map[string]string{}
	for name, from := range map[string]string{"c": "cert.pem", "k": "key.pem"} {
		text, err := os.ReadFile("testdata/" + from)
		if err != nil {
			t.Fatal(err)
		}
		files[name] = string(text)
	}
	read := func(name string) ([]byte, error) {
		text, ok := files[name]
		if !ok {
			return nil, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
		}
		return []byte(text), nil
	}
	now := time.Unix(1000, 0)
	var log strings.Builder
	c := config(t, "tls.test.mode.enable=false\ntls.server.certPath=c\ntls.server.keyPath=k")
	get, err := c.Server(read, func() time.Time { return now }, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	serial := func() string {
		t.Helper()
		cfg, err := get()
		if err != nil {
			t.Fatal(err)
		}
		cert, err := x509.ParseCertificate(cfg.Certificates[0].Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		return cert.SerialNumber.String()
	}
	old := serial()
	next, err := selfSigned(now)
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(next.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	// The new certificate comes first; its key is not there yet.
	files["c"] = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: next.Certificate[0]}))
	if serial() != old {
		t.Error("files were read again too soon")
	}
	for range 3 {
		now = now.Add(time.Second)
		if serial() != old {
			t.Error("a certificate without its key was used")
		}
	}
	if n := strings.Count(log.String(), "level=ERROR"); n != 1 {
		t.Errorf("the fault was logged %d times:\n%s", n, log.String())
	}
	files["k"] = string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}))
	now = now.Add(time.Second)
	if serial() == old {
		t.Error("the new certificate is not used")
	}
	delete(files, "k")
	now = now.Add(time.Second)
	if serial() == old {
		t.Error("the last good certificate was dropped")
	}
}

func TestRefusals(t *testing.T) {
	const files = "tls.test.mode.enable=false\ntls.server.certPath=testdata/cert.pem\n"
	for text, want := range map[string]string{
		files + "tls.server.keyPath=testdata/none.pem":                                           "no such file",
		files + "tls.server.keyPath=testdata/cert.pem":                                           "testdata/cert.pem with testdata/cert.pem",
		files + "tls.server.keyPath=testdata/key-aes128.pem":                                     "password does not open",
		files + "tls.server.keyPath=testdata/key-aes128.pem\ntls.server.keyPassword=x":           "password does not open",
		files + "tls.server.keyPath=testdata/key-pbes1.pem\ntls.server.keyPassword=apogee":       "PBES2",
		files + "tls.server.keyPath=testdata/key.pem\ntls.server.trustCertPath=testdata/key.pem": "holds no PEM certificate",
		"tls.ciphers=AES":                   "tls.ciphers",
		"tls.protocols=SSLv3":               "tls.protocols",
		"tls.server.need.client.auth=maybe": "need.client.auth",
	} {
		_, err := config(t, text).Server(os.ReadFile, clock(), quietLog)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q in it", text, err, want)
		}
	}
	// Neither a certificate nor the test mode: plain connections are served, TLS ones are not.
	get, err := config(t, "tls.test.mode.enable=false").Server(os.ReadFile, clock(), quietLog)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := get(); err == nil {
		t.Error("a handshake without a certificate")
	}
	if cfg, err := config(t, "").Client(os.ReadFile); cfg != nil || err != nil {
		t.Errorf("a client that was not asked for TLS: %v, %v", cfg, err)
	}
}

func TestOpenKey(t *testing.T) {
	want, err := os.ReadFile("testdata/key.pem")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"key", "key-aes128", "key-aes-256-cbc", "key-des3", "key-sha1"} {
		text, err := os.ReadFile("testdata/" + name + ".pem")
		if err != nil {
			t.Fatal(err)
		}
		got, err := openKey(text, "apogee")
		if err != nil || string(got) != string(want) {
			t.Errorf("%s: %v\n%s", name, err, got)
		}
		if name == "key" {
			continue
		}
		if got, err := openKey(text, "wrong"); err == nil && string(got) == string(want) {
			t.Errorf("%s opens with any password", name)
		} else if err != nil && !errors.Is(err, errPassword) {
			t.Errorf("%s with a wrong password: %v", name, err)
		}
	}
}

func FuzzOpenKey(f *testing.F) {
	for _, name := range []string{"key", "key-aes128", "key-des3", "key-pbes1"} {
		text, err := os.ReadFile("testdata/" + name + ".pem")
		if err != nil {
			f.Fatal(err)
		}
		block, _ := pem.Decode(text)
		f.Add(block.Bytes)
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		_, _ = openKey(pem.EncodeToMemory(&pem.Block{Type: encryptedKey, Bytes: der}), "apogee")
	})
}
