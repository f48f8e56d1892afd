// Package tlsconf makes TLS configurations from Java's tls.* keys (TlsSystemConfig, TlsHelper; spec: behaviour.md 16).
//
// A server asks for its configuration at each handshake, and gets new certificates soon after their files have changed. The package
// opens no file itself and knows nothing of connections. Start at [Config.Server] and [Config.Client].
package tlsconf

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"strings"
	"sync"
	"time"
)

// Config are the tls.* keys; compat/properties binds them.
type Config struct {
	Mode       string `prop:"tls.server.mode" default:"permissive"`       // disabled, permissive, enforcing; anything else is permissive
	TestMode   bool   `prop:"tls.test.mode.enable" default:"true"`        // a certificate of our own making, and no file is read
	ConfigFile string `prop:"tls.config.file" default:""`                 // more tls.* keys; whoever reads the settings reads it
	NeedAuth   string `prop:"tls.server.need.client.auth" default:"none"` // none, optional, require

	ServerKey         string `prop:"tls.server.keyPath" default:""`
	ServerKeyPassword string `prop:"tls.server.keyPassword" default:""`
	ServerCert        string `prop:"tls.server.certPath" default:""`
	ServerVerify      bool   `prop:"tls.server.authClient" default:"false"` // client certificates must be signed by a trusted one
	ServerTrust       string `prop:"tls.server.trustCertPath" default:""`

	UseTLS            bool   `prop:"useTLS" default:"false"`     // connections that we make use TLS
	ClientEnable      bool   `prop:"tls.enable" default:"false"` // the same; Java's system property
	ClientKey         string `prop:"tls.client.keyPath" default:""`
	ClientKeyPassword string `prop:"tls.client.keyPassword" default:""`
	ClientCert        string `prop:"tls.client.certPath" default:""`
	ClientVerify      bool   `prop:"tls.client.authServer" default:"false"`
	ClientTrust       string `prop:"tls.client.trustCertPath" default:""`

	Ciphers   string `prop:"tls.ciphers" default:""`   // comma-separated IANA names; TLS 1.3 has no choice of them
	Protocols string `prop:"tls.protocols" default:""` // comma-separated, such as TLSv1.2,TLSv1.3
}

// Files reads whole files, as os.ReadFile does.
type Files func(path string) ([]byte, error)

// reloadEvery is how often files are looked at, at most; Java's FileWatchService scans at this interval.
const reloadEvery = 500 * time.Millisecond

// ServerMode is the mode in the words of the remoting layer.
func (c *Config) ServerMode() string {
	switch m := strings.ToLower(strings.TrimSpace(c.Mode)); m {
	case "disabled", "enforcing":
		return m
	default:
		return "permissive" // Java's TlsMode.parse
	}
}

// Server returns what yields the configuration of a handshake. Files that cannot be used are an error now; once they could, a later
// version that cannot (half-written, or a key that does not fit) is logged and the last good one stays in use.
func (c *Config) Server(read Files, now func() time.Time, log *slog.Logger) (func() (*tls.Config, error), error) {
	base, err := c.base()
	if err != nil {
		return nil, err
	}
	if base.ClientAuth, err = c.clientAuth(); err != nil {
		return nil, err
	}
	if c.TestMode {
		if c.ServerCert != "" {
			log.Warn("tls.server.certPath has no effect while tls.test.mode.enable is true; a certificate of our own is shown")
		}
		base.ClientAuth = min(base.ClientAuth, tls.RequireAnyClientCert)
		return sync.OnceValues(func() (*tls.Config, error) {
			cert, err := selfSigned(now())
			if err != nil {
				return nil, err
			}
			own := base.Clone()
			own.Certificates = []tls.Certificate{cert}
			return own, nil
		}), nil
	}
	if c.ServerCert == "" || c.ServerKey == "" {
		return func() (*tls.Config, error) {
			return nil, errors.New("tls.server.certPath and tls.server.keyPath are not set, and tls.test.mode.enable is false")
		}, nil
	}
	r := &reloader{
		read: read, now: now, log: log, base: base,
		cert: c.ServerCert, key: c.ServerKey, password: c.ServerKeyPassword, trust: c.ServerTrust,
	}
	if err := r.load(); err != nil {
		return nil, err
	}
	return r.get, nil
}

// Client is the configuration of connections that we make, nil if they are plain. As in Java, whose name a server's certificate
// shows is not checked: brokers are known by address.
func (c *Config) Client(read Files) (*tls.Config, error) {
	if !c.UseTLS && !c.ClientEnable {
		return nil, nil
	}
	cfg, err := c.base()
	if err != nil {
		return nil, err
	}
	cfg.InsecureSkipVerify = true // the chain is checked below where it shall be
	if c.ClientCert != "" && c.ClientKey != "" && !c.TestMode {
		cert, _, err := loadPair(read, c.ClientCert, c.ClientKey, c.ClientKeyPassword)
		if err != nil {
			return nil, err
		}
		cfg.Certificates = []tls.Certificate{cert}
	}
	if !c.ClientVerify || c.TestMode {
		return cfg, nil
	}
	var roots *x509.CertPool // nil: those of the system
	if c.ClientTrust != "" {
		if roots, _, err = loadPool(read, c.ClientTrust); err != nil {
			return nil, err
		}
	}
	cfg.VerifyConnection = func(s tls.ConnectionState) error {
		between := x509.NewCertPool()
		for _, cert := range s.PeerCertificates[1:] {
			between.AddCert(cert)
		}
		_, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between})
		return err
	}
	return cfg, nil
}

func (c *Config) clientAuth() (tls.ClientAuthType, error) {
	switch need := strings.ToLower(strings.TrimSpace(c.NeedAuth)); {
	case need == "none" || need == "":
		return tls.NoClientCert, nil
	case need == "optional" && c.ServerVerify:
		return tls.VerifyClientCertIfGiven, nil
	case need == "optional":
		return tls.RequestClientCert, nil
	case need == "require" && c.ServerVerify:
		return tls.RequireAndVerifyClientCert, nil
	case need == "require":
		return tls.RequireAnyClientCert, nil
	default:
		return 0, fmt.Errorf("tls.server.need.client.auth=%s: allowed are none, optional and require", c.NeedAuth)
	}
}

// base has what both sides share: versions and ciphers.
func (c *Config) base() (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	versions := map[string]uint16{"TLSv1": tls.VersionTLS10, "TLSv1.1": tls.VersionTLS11, "TLSv1.2": tls.VersionTLS12, "TLSv1.3": tls.VersionTLS13}
	for i, name := range list(c.Protocols) {
		v, ok := versions[name]
		if !ok {
			return nil, fmt.Errorf("tls.protocols=%s: allowed are TLSv1, TLSv1.1, TLSv1.2 and TLSv1.3", c.Protocols)
		}
		if i == 0 {
			cfg.MinVersion = v
		}
		cfg.MinVersion, cfg.MaxVersion = min(cfg.MinVersion, v), max(cfg.MaxVersion, v)
	}
	known := append(tls.CipherSuites(), tls.InsecureCipherSuites()...)
	for _, name := range list(c.Ciphers) {
		at := -1
		for i, s := range known {
			if s.Name == name {
				at = i
			}
		}
		if at < 0 {
			return nil, fmt.Errorf("tls.ciphers: %s is not known; names are those of IANA, such as TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", name)
		}
		cfg.CipherSuites = append(cfg.CipherSuites, known[at].ID)
	}
	return cfg, nil
}

func list(s string) []string {
	var out []string
	for name := range strings.SplitSeq(s, ",") {
		if name = strings.TrimSpace(name); name != "" {
			out = append(out, name)
		}
	}
	return out
}

// reloader keeps the configuration that its files made when they were last good.
type reloader struct {
	read                       Files
	now                        func() time.Time
	log                        *slog.Logger
	base                       *tls.Config
	cert, key, password, trust string

	mu      sync.Mutex // guards what follows
	present *tls.Config
	seen    []byte // contents that present was made of, or that were found bad since
	looked  time.Time
}

func (r *reloader) get() (*tls.Config, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := r.now(); now.Sub(r.looked) >= reloadEvery {
		if err := r.loadLocked(); err != nil {
			r.log.Error("TLS files cannot be used, the last good ones stay", "err", err)
		}
	}
	return r.present, nil
}

func (r *reloader) load() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.loadLocked()
}

// loadLocked reads the files and makes a configuration of them if they have changed. The same bad contents are an error only once.
func (r *reloader) loadLocked() error {
	r.looked = r.now()
	cert, seen, err := loadPair(r.read, r.cert, r.key, r.password)
	next := r.base.Clone()
	if err == nil && r.trust != "" {
		var text []byte
		next.ClientCAs, text, err = loadPool(r.read, r.trust)
		seen = append(seen, text...)
	}
	if err != nil {
		seen = append(seen, err.Error()...)
	}
	if bytes.Equal(seen, r.seen) {
		return nil
	}
	r.seen = seen
	if err != nil {
		return err
	}
	next.Certificates = []tls.Certificate{cert}
	if r.present != nil {
		r.log.Info("TLS certificate reloaded", "file", r.cert)
	}
	r.present = next
	return nil
}

// loadPair reads a certificate and its key, and returns what it read besides.
func loadPair(read Files, certPath, keyPath, password string) (tls.Certificate, []byte, error) {
	cert, err := read(certPath)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	key, err := read(keyPath)
	if err != nil {
		return tls.Certificate{}, cert, err
	}
	seen := append(bytes.Clone(cert), key...)
	if key, err = openKey(key, password); err != nil {
		return tls.Certificate{}, seen, fmt.Errorf("%s: %w", keyPath, err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return tls.Certificate{}, seen, fmt.Errorf("%s with %s: %w", certPath, keyPath, err)
	}
	return pair, seen, nil
}

func loadPool(read Files, path string) (*x509.CertPool, []byte, error) {
	text, err := read(path)
	if err != nil {
		return nil, nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, text, fmt.Errorf("%s holds no PEM certificate", path)
	}
	return pool, text, nil
}

// selfSigned makes the certificate of the test mode. Clients that use it do not verify anything.
func selfSigned(now time.Time) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return tls.Certificate{}, err
	}
	const years = 10
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotBefore: now.AddDate(0, 0, -1), NotAfter: now.AddDate(years, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}
