package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"syscall"
)

const leastPrivilege = "see docs/least-privilege.md"

// unanswered reports whether err says that the other side gave no answer. A refused certificate
// is an answer.
func unanswered(err error) bool {
	if untrusted(err) {
		return false
	}
	if _, ok := errors.AsType[net.Error](err); ok {
		return true
	}
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return errno != syscall.EACCES && errno != syscall.EPERM
	}
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, context.DeadlineExceeded)
}

// untrusted reports whether TLS refused the other side's certificate.
func untrusted(err error) bool {
	_, verification := errors.AsType[*tls.CertificateVerificationError](err)
	_, authority := errors.AsType[x509.UnknownAuthorityError](err)
	_, host := errors.AsType[x509.HostnameError](err)
	return verification || authority || host
}

// errorFinding is a finding of an error: unreachable without an answer, else a fault with its
// fix.
func errorFinding(err error, address, fix string) Finding {
	f := Finding{State: Fault, Found: err.Error(), Fix: fix}
	switch {
	case untrusted(err):
		f.Fix = "trust the authority that signed the certificate, or use the host name that it is for: " + address
	case unanswered(err):
		f.State, f.Fix = Unreachable, "is it running, and can this machine reach it? Its address is in "+address
	}
	return f
}
