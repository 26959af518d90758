package server_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	natsd "github.com/nats-io/nats-server/v2/server"

	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/broker/server"
	"github.com/pgcourier/pgcourier/internal/dev/brokertest"
)

// authority is a CA with its certificate in a file.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	a := &authority{t: t, dir: t.TempDir()}
	tmpl := template(name)
	tmpl.IsCA, tmpl.BasicConstraintsValid, tmpl.KeyUsage = true, true, x509.KeyUsageCertSign
	a.cert, a.key = tmpl, nil
	a.file, _ = a.issue(tmpl)
	return a
}

func template(name string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
	}
}

// issue writes a certificate and its key; the authority's own first.
func (a *authority) issue(tmpl *x509.Certificate) (certFile, keyFile string) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(a.t, err)
	signer := a.key
	if signer == nil {
		signer, a.key = key, key
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, key.Public(), signer)
	must(a.t, err)
	if a.cert == tmpl {
		a.cert, err = x509.ParseCertificate(der)
		must(a.t, err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	must(a.t, err)
	name := filepath.Join(a.dir, tmpl.Subject.CommonName+"-"+tmpl.SerialNumber.String())
	for file, block := range map[string]*pem.Block{name + ".crt": {Type: "CERTIFICATE", Bytes: der}, name + ".key": {Type: "PRIVATE KEY", Bytes: keyDER}} {
		must(a.t, os.WriteFile(file, pem.EncodeToMemory(block), 0o600))
	}
	return name + ".crt", name + ".key"
}

func (a *authority) server(change func(*x509.Certificate)) (certFile, keyFile string) {
	tmpl := template("server")
	tmpl.IPAddresses, tmpl.ExtKeyUsage = []net.IP{net.IPv4(127, 0, 0, 1)}, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	change(tmpl)
	return a.issue(tmpl)
}

func (a *authority) client(change func(*x509.Certificate)) (certFile, keyFile string) {
	tmpl := template("client")
	tmpl.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	change(tmpl)
	return a.issue(tmpl)
}

func asIs(*x509.Certificate)      {}
func expired(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Hour) }
func otherHost(c *x509.Certificate) {
	c.IPAddresses, c.DNSNames = nil, []string{"broker.example.org"}
}

// A client connects to the embedded server with TLS only with everything that it needs. Without it,
// the client's key is refused or not shown at all.
func TestTLS(t *testing.T) {
	t.Parallel()
	right, wrong := newAuthority(t, "right"), newAuthority(t, "wrong")
	goodCert, goodKey := right.client(asIs)
	oldCert, oldKey := right.client(expired)
	foreignCert, foreignKey := wrong.client(asIs)
	serverCert, serverKey := right.server(asIs)
	for _, c := range []struct {
		name   string
		server func(*x509.Certificate)
		mutual bool
		client broker.Config
		plain  bool   // the client asks for no TLS by its URL
		want   string // in the error; empty: connected
	}{
		{name: "right CA", server: asIs, client: broker.Config{CAFile: right.file}},
		{name: "right CA, by a nats:// URL", server: asIs, client: broker.Config{CAFile: right.file}, plain: true},
		{name: "wrong CA", server: asIs, client: broker.Config{CAFile: wrong.file}, want: "unknown authority"},
		{name: "the system's CAs", server: asIs, want: "unknown authority"},
		{name: "the system's CAs, by a nats:// URL", server: asIs, plain: true, want: "unknown authority"},
		{name: "wrong host", server: otherHost, client: broker.Config{CAFile: right.file}, want: "127.0.0.1"},
		{name: "expired", server: expired, client: broker.Config{CAFile: right.file}, want: "expired"},
		{name: "mutual", server: asIs, mutual: true, client: broker.Config{CAFile: right.file, CertFile: goodCert, KeyFile: goodKey}},
		{name: "mutual, no certificate", server: asIs, mutual: true, client: broker.Config{CAFile: right.file}, want: "remote"},
		{name: "mutual, expired", server: asIs, mutual: true, client: broker.Config{CAFile: right.file, CertFile: oldCert, KeyFile: oldKey}, want: "remote"},
		{name: "mutual, of another CA", server: asIs, mutual: true, client: broker.Config{CAFile: right.file, CertFile: foreignCert, KeyFile: foreignKey}, want: "remote"},
		{name: "mutual, a server's", server: asIs, mutual: true, client: broker.Config{CAFile: right.file, CertFile: serverCert, KeyFile: serverKey}, want: "remote"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			config := server.Config{DataDir: dir, Port: brokertest.RandomPort, Logger: brokertest.Quiet()}
			config.CertFile, config.KeyFile = right.server(c.server)
			if c.mutual {
				config.ClientCAFile = right.file
			}
			srv, err := server.Start(config)
			must(t, err)
			t.Cleanup(func() { _ = srv.Shutdown() })
			admin(t, srv) // within the process no certificate is needed
			scheme, _, _ := strings.Cut(srv.ClientURL(), "://")
			if scheme != "tls" {
				t.Errorf("clients are sent to %s", srv.ClientURL())
			}
			c.client.URLs = []string{"tls://127.0.0.1:" + portText(t, srv.ClientURL())}
			if c.plain {
				c.client.URLs[0] = strings.Replace(c.client.URLs[0], "tls", "nats", 1)
			}
			c.client.Logger, c.client.InboxPrefix = brokertest.Quiet(), server.UserGateway.InboxPrefix()
			c.client.NKeySeedFile = server.KeyFile(server.KeysDir(dir), server.UserGateway)
			nc, err := broker.Connect(c.client)
			if c.want == "" {
				must(t, err)
				defer nc.Close()
				if state, err := nc.TLSConnectionState(); err != nil || state.Version < tls.VersionTLS12 {
					t.Errorf("TLS is %v, %v", state.Version, err)
				}
				return
			}
			if err == nil {
				nc.Close()
				t.Fatal("connected")
			}
			seed, readErr := os.ReadFile(c.client.NKeySeedFile)
			must(t, readErr)
			if !errors.Is(err, broker.ErrUnreachable) || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), strings.TrimSpace(string(seed))) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func portText(t *testing.T, url string) string {
	t.Helper()
	return url[strings.LastIndexByte(url, ':')+1:]
}

// A client sends nothing to a server without TLS, also for a nats:// URL.
func TestTLSIsNeverGivenUp(t *testing.T) {
	t.Parallel()
	right := newAuthority(t, "right")
	cert, key := right.client(asIs)
	plain := brokertest.Raw(t, &natsd.Options{Username: "u", Password: canary}).ClientURL()
	for name, c := range map[string]broker.Config{
		"a CA":                       {URLs: []string{plain}, CAFile: right.file},
		"a certificate":              {URLs: []string{plain}, CertFile: cert, KeyFile: key},
		"the URL":                    {URLs: []string{strings.Replace(plain, "nats", "tls", 1)}},
		"the second of two":          {URLs: []string{"tls://127.0.0.1:1", plain}, CAFile: right.file},
		"the URL of a second of two": {URLs: []string{"nats://127.0.0.1:1", strings.Replace(plain, "nats", "tls", 1)}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.User, c.Password, c.Logger = "u", canary, brokertest.Quiet()
			if _, err := broker.Connect(c); !errors.Is(err, broker.ErrUnreachable) || strings.Contains(err.Error(), canary) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestTheServerListensElsewhereWithTLSOnly(t *testing.T) {
	t.Parallel()
	right := newAuthority(t, "right")
	cert, key := right.server(otherHost)
	for name, c := range map[string]server.Config{
		"no certificate":        {Host: "0.0.0.0"},
		"a certificate alone":   {CertFile: cert},
		"a CA of clients alone": {ClientCAFile: right.file},
		"no such certificate":   {CertFile: "/nonexistent", KeyFile: key},
		"no such CA":            {CertFile: cert, KeyFile: key, ClientCAFile: "/nonexistent"},
		"no PEM":                {CertFile: cert, KeyFile: key, ClientCAFile: "tls_test.go"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.DataDir, c.Port, c.Logger = t.TempDir(), brokertest.RandomPort, brokertest.Quiet()
			if srv, err := server.Start(c); err == nil {
				t.Error("started", srv.Shutdown())
			}
		})
	}
	srv, err := server.Start(server.Config{DataDir: t.TempDir(), Host: "0.0.0.0", Port: brokertest.RandomPort, CertFile: cert, KeyFile: key, Logger: brokertest.Quiet()})
	must(t, err)
	defer func() { _ = srv.Shutdown() }()
	if url := srv.ClientURL(); !strings.HasPrefix(url, "tls://broker.example.org:") {
		t.Errorf("clients are sent to %s, a name that the certificate does not bear", url)
	}
}
