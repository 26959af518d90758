package server

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"time"

	natsd "github.com/nats-io/nats-server/v2/server"
)

// tlsTimeout bounds one TLS handshake.
const tlsTimeout = 5 * time.Second

// secureServer configures TLS. It refuses to listen on a network address without TLS, because other
// hosts could read the messages and take over the connections of users.
func secureServer(o *natsd.Options, c Config) error {
	if (c.CertFile == "") != (c.KeyFile == "") {
		return errors.New("certificate and key: give both or none")
	}
	if c.CertFile == "" {
		if c.ClientCAFile != "" {
			return errors.New("a CA of clients needs a certificate of the server")
		}
		if !isLoopback(o.Host) {
			return fmt.Errorf("to listen on %s, beyond this machine, needs a certificate and a key", o.Host)
		}
		return nil
	}
	cert, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
	if err != nil {
		return fmt.Errorf("certificate of the server: %w", err)
	}
	o.TLS, o.TLSTimeout = true, tlsTimeout.Seconds()
	o.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}}
	if c.ClientCAFile == "" {
		return nil
	}
	pem, err := os.ReadFile(c.ClientCAFile)
	if err != nil {
		return fmt.Errorf("CA file of clients: %w", err)
	}
	o.TLSVerify, o.TLSConfig.ClientAuth, o.TLSConfig.ClientCAs = true, tls.RequireAndVerifyClientCert, x509.NewCertPool()
	if !o.TLSConfig.ClientCAs.AppendCertsFromPEM(pem) {
		return fmt.Errorf("CA file of clients %q holds no PEM certificate", c.ClientCAFile)
	}
	return nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// clientURL returns the server's URL with a name from its certificate.
func clientURL(srv *natsd.Server, o *natsd.Options) (string, error) {
	addr, ok := srv.Addr().(*net.TCPAddr)
	if !ok {
		return "", errors.New("start embedded broker: it does not listen")
	}
	u := url.URL{Scheme: "nats", Host: net.JoinHostPort(o.Host, strconv.Itoa(addr.Port))}
	if o.TLSConfig == nil {
		return u.String(), nil
	}
	cert, err := x509.ParseCertificate(o.TLSConfig.Certificates[0].Certificate[0])
	if err != nil {
		return "", fmt.Errorf("certificate of the server: %w", err)
	}
	u.Scheme = "tls"
	if cert.VerifyHostname(o.Host) == nil {
		return u.String(), nil
	}
	switch {
	case len(cert.DNSNames) > 0:
		u.Host = net.JoinHostPort(cert.DNSNames[0], strconv.Itoa(addr.Port))
	case len(cert.IPAddresses) > 0:
		u.Host = net.JoinHostPort(cert.IPAddresses[0].String(), strconv.Itoa(addr.Port))
	}
	return u.String(), nil
}
