package pgdump_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/pgdump"
)

func TestTLS(t *testing.T) {
	t.Parallel()
	c := ownCluster(t)
	dsn := database(t, c, simple)
	folder := filepath.Join(c.Folder, "data")
	roots := certificates(t, folder)
	execute(t, dsn, "ALTER SYSTEM SET ssl = on")
	execute(t, dsn, "ALTER SYSTEM SET ssl_ca_file = 'roots.crt'")
	rules := filepath.Join(folder, "pg_hba.conf")
	others, err := os.ReadFile(rules)
	if err == nil {
		err = os.WriteFile(rules, append([]byte("hostssl all certified all cert\nhost all certified all reject\n"), others...), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	execute(t, dsn, "SELECT pg_reload_conf()")

	address := func(host, query string) string {
		u, err := url.Parse(dsn)
		if err != nil {
			t.Fatal(err)
		}
		u.Host, u.RawQuery = host+":"+u.Port(), query
		return u.String()
	}
	good := "sslmode=verify-full&sslrootcert=" + roots
	eventually(t, "the server speaks TLS", func() bool {
		dump, err := dumper(t, pgdump.Config{}).Open(t.Context(), job(address("localhost", good), export.SQL, "s"))
		if err == nil {
			_ = dump.Close()
		}
		return err == nil
	})

	t.Run("verified", func(t *testing.T) {
		execute(t, dsn, "CREATE TABLE s.large AS SELECT repeat('x', 1000) FROM generate_series(1, 40000)")
		dump := open(t, pgdump.Config{}, job(address("localhost", good), export.SQL, "s"))
		read(t, dump, 5000)
		var encrypted int
		err := connect(t, dsn).QueryRow(t.Context(), `
SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
 WHERE ssl AND application_name LIKE 'pgcourier%'`).Scan(&encrypted)
		if err != nil || encrypted != 2 {
			t.Errorf("%d sessions with TLS, %v; want the snapshot's and pg_dump's", encrypted, err)
		}
		if _, err := io.Copy(io.Discard, dump); err != nil {
			t.Error(err)
		}
	})
	for name, query := range map[string]string{
		"any certificate":     "sslmode=require",
		"any host":            "sslmode=verify-ca&sslrootcert=" + roots,
		"channel binding":     good + "&channel_binding=require",
		"certain login":       good + "&require_auth=scram-sha-256",
		"TLS is not demanded": "sslmode=prefer",
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := io.Copy(io.Discard, open(t, pgdump.Config{}, job(address("localhost", query), export.SQL, "s"))); err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("client certificate", func(t *testing.T) {
		execute(t, dsn, "CREATE ROLE certified LOGIN SUPERUSER")
		login := func(query string) string {
			u, err := url.Parse(address("localhost", query))
			if err != nil {
				t.Fatal(err)
			}
			u.User = url.User("certified")
			return u.String()
		}
		folder := filepath.Dir(roots)
		with := good + "&sslcert=" + filepath.Join(folder, "client.crt") + "&sslkey=" + filepath.Join(folder, "client.key")
		if _, err := io.Copy(io.Discard, open(t, pgdump.Config{}, job(login(with), export.SQL, "s"))); err != nil {
			t.Error(err)
		}
		_, err := dumper(t, pgdump.Config{}).Open(t.Context(), job(login(good), export.SQL, "s"))
		fault(t, err, codes.SourceAuthFailed)
	})
	plain := database(t, cluster, simple)
	for _, query := range []string{"sslmode=require", "sslmode=verify-ca&sslrootcert=" + roots, good} {
		t.Run("a server without TLS, "+query[:len("sslmode=verify")], func(t *testing.T) {
			u, err := url.Parse(plain)
			if err != nil {
				t.Fatal(err)
			}
			u.RawQuery = query
			_, err = dumper(t, pgdump.Config{}).Open(t.Context(), job(u.String(), export.SQL, "s"))
			if f := fault(t, err, codes.SourceAuthFailed); f.Message != "the source does not speak TLS, which its settings demand" {
				t.Errorf("refused with %q", f.Message)
			}
		})
	}
	foreign := certificates(t, t.TempDir())
	for name, address := range map[string]string{
		"foreign authority":        address("localhost", "sslmode=verify-full&sslrootcert="+foreign),
		"foreign authority for CA": address("localhost", "sslmode=verify-ca&sslrootcert="+foreign),
		"the system's authorities": address("localhost", "sslmode=verify-full"),
		"another host":             address("127.0.0.1", good),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := dumper(t, pgdump.Config{}).Open(t.Context(), job(address, export.SQL, "s"))
			fault(t, err, codes.SourceAuthFailed)
		})
	}
}

// certificates writes server.crt and server.key for localhost, and the authority that signed them
// as roots.crt, into a server's folder. It returns another copy of the authority; client.crt and
// client.key for the login certified are in the same folder.
func certificates(t *testing.T, folder string) (roots string) {
	t.Helper()
	key := func() *ecdsa.PrivateKey {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	write := func(path, kind string, der []byte) string {
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(folder)
		if err != nil {
			t.Fatal(err)
		}
		owner := info.Sys().(*syscall.Stat_t) // the server's
		if err := os.Chown(path, int(owner.Uid), int(owner.Gid)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	template := func(name string, ca bool) *x509.Certificate {
		return &x509.Certificate{
			SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
			IsCA: ca, BasicConstraintsValid: ca, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		}
	}
	sign := func(c, parent *x509.Certificate, k, by *ecdsa.PrivateKey) []byte {
		der, err := x509.CreateCertificate(rand.Reader, c, parent, &k.PublicKey, by)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	caKey, serverKey := key(), key()
	ca := template("an authority", true)
	der, err := x509.MarshalECPrivateKey(serverKey)
	if err != nil {
		t.Fatal(err)
	}
	write(filepath.Join(folder, "server.key"), "EC PRIVATE KEY", der)
	write(filepath.Join(folder, "server.crt"), "CERTIFICATE", sign(template("localhost", false), ca, serverKey, caKey))
	own, clientKey := t.TempDir(), key()
	if der, err = x509.MarshalECPrivateKey(clientKey); err != nil {
		t.Fatal(err)
	}
	write(filepath.Join(own, "client.key"), "EC PRIVATE KEY", der)
	write(filepath.Join(own, "client.crt"), "CERTIFICATE", sign(template("certified", false), ca, clientKey, caKey))
	authority := sign(ca, ca, caKey, caKey)
	write(filepath.Join(folder, "roots.crt"), "CERTIFICATE", authority)
	return write(filepath.Join(own, "roots.crt"), "CERTIFICATE", authority)
}
