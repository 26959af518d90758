package notify

import (
	"fmt"
	stdmail "net/mail"
	"strings"

	"golang.org/x/net/idna"
)

func isASCII(s string) bool { return !strings.ContainsFunc(s, func(r rune) bool { return r > '~' }) }

// ASCIIDomain returns a domain with its internationalised labels as A-labels, because mail servers
// without SMTPUTF8 accept no others. An ASCII domain is not changed.
func ASCIIDomain(domain string) (string, error) {
	if isASCII(domain) {
		return domain, nil
	}
	ascii, err := idna.Lookup.ToASCII(domain)
	if err != nil {
		return "", fmt.Errorf("the domain %q is not valid: %w", domain, err)
	}
	return ascii, nil
}

// ASCIIAddress returns a mail address with its domain as [ASCIIDomain] does. A local part that is
// not ASCII is an error: it needs SMTPUTF8, which mail servers on the way may lack.
func ASCIIAddress(a stdmail.Address) (stdmail.Address, error) {
	at := strings.LastIndexByte(a.Address, '@') + 1
	if !isASCII(a.Address[:at]) {
		return a, fmt.Errorf("%q has characters other than ASCII before the @", a.Address)
	}
	domain, err := ASCIIDomain(a.Address[at:])
	if err != nil {
		return a, err
	}
	a.Address = a.Address[:at] + domain
	return a, nil
}
