package libpq

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"unicode/utf8"
)

// ErrDSN starts each complaint about a connection string. None quotes the string: where it
// is broken, any part of it can be the password.
var ErrDSN = errors.New("connection string")

// parse takes a connection string apart, in libpq's two forms, into libpq's keywords.
// A later keyword overrides an earlier one.
func parse(dsn string) (map[string]string, error) {
	if strings.IndexByte(dsn, 0) >= 0 || !utf8.ValidString(dsn) {
		return nil, fmt.Errorf("%w: a NUL byte or invalid UTF-8", ErrDSN)
	}
	for _, scheme := range []string{"postgres://", "postgresql://"} {
		if rest, ok := strings.CutPrefix(dsn, scheme); ok {
			return parseURL(rest)
		}
	}
	return parseKeywords(dsn)
}

// parseURL takes what follows the scheme. net/url cannot: it knows one host only.
func parseURL(s string) (map[string]string, error) {
	out := map[string]string{}
	// Newer libpqs trim blanks around each part, older ones and others take them as they are.
	if strings.ContainsAny(s, space) {
		return nil, fmt.Errorf("%w: a blank within a URL is written %%20", ErrDSN)
	}
	s, query, _ := strings.Cut(s, "?")
	authority, database, _ := strings.Cut(s, "/")
	hosts := authority
	// Of two of them libpq takes the first as the end of the login, and other parsers take the
	// last. The two ways into the database would use different logins or servers.
	if strings.Count(authority, "@") > 1 {
		return nil, fmt.Errorf("%w: an @ within a user name or a password is written %%40", ErrDSN)
	}
	if login, rest, ok := strings.Cut(authority, "@"); ok {
		user, password, hasPassword := strings.Cut(login, ":")
		hosts = rest
		if err := put(out, "user", user); err != nil {
			return nil, err
		}
		if hasPassword {
			if err := put(out, "password", password); err != nil {
				return nil, err
			}
		}
	}
	if err := put(out, "dbname", database); err != nil {
		return nil, err
	}
	if hosts != "" {
		if err := splitHosts(out, hosts); err != nil {
			return nil, err
		}
	}
	for pair := range strings.SplitSeq(query, "&") {
		if pair == "" {
			continue
		}
		key, value, ok := strings.Cut(pair, "=")
		key, err := url.PathUnescape(key)
		if err != nil || !ok || key == "" {
			return nil, fmt.Errorf("%w: a parameter is not key=value", ErrDSN)
		}
		if key == "ssl" && value == "true" { // JDBC's spelling, which libpq knows too
			key, value = "sslmode", "require"
		}
		if err := put(out, canonical(key), value); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// put unescapes a URL's value. As in libpq a plus sign stands for itself, space around the
// value is dropped, and within it must be escaped.
func put(out map[string]string, key, escaped string) error {
	value, err := url.PathUnescape(escaped)
	if err != nil || strings.IndexByte(value, 0) >= 0 || !utf8.ValidString(value) {
		return fmt.Errorf("%w: %s is not escaped correctly", ErrDSN, key)
	}
	if value != "" {
		out[key] = value
	}
	return nil
}

// splitHosts takes "a:1,[::1]:2,c" apart into libpq's host and port lists.
func splitHosts(out map[string]string, list string) error {
	var hosts, ports []string
	for entry := range strings.SplitSeq(list, ",") {
		host, port := entry, ""
		if strings.HasPrefix(entry, "[") {
			end := strings.IndexByte(entry, ']')
			if end < 0 || (end+1 < len(entry) && entry[end+1] != ':') {
				return fmt.Errorf("%w: an address in brackets is broken", ErrDSN)
			}
			host, port = entry[1:end], strings.TrimPrefix(entry[end+1:], ":")
		} else if i := strings.IndexByte(entry, ':'); i >= 0 {
			host, port = entry[:i], entry[i+1:]
		}
		hosts, ports = append(hosts, host), append(ports, port)
	}
	if err := put(out, "host", strings.Join(hosts, ",")); err != nil {
		return err
	}
	return put(out, "port", strings.Join(ports, ","))
}

const space = " \t\n\r\v\f"

// parseKeywords reads "key = value" pairs with libpq's quotes and backslashes.
func parseKeywords(s string) (map[string]string, error) {
	out := map[string]string{}
	for s = strings.TrimLeft(s, space); s != ""; s = strings.TrimLeft(s, space) {
		key, rest, ok := strings.Cut(s, "=")
		key = strings.TrimRight(key, space)
		if !ok || key == "" || strings.ContainsAny(key, space) {
			return nil, fmt.Errorf("%w: neither a postgres:// URL nor key=value pairs", ErrDSN)
		}
		value, rest, err := keywordValue(strings.TrimLeft(rest, space))
		if err != nil {
			return nil, err
		}
		s, key = rest, canonical(key)
		delete(out, key)
		if value != "" {
			out[key] = value
		}
	}
	return out, nil
}

// keywordValue reads one value and returns what follows it. A backslash takes the next
// byte as it is; one at the very end stands for nothing.
func keywordValue(s string) (value, rest string, err error) {
	s, quoted := strings.CutPrefix(s, "'")
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case quoted && s[i] == '\'':
			return b.String(), s[i+1:], nil
		case !quoted && strings.IndexByte(space, s[i]) >= 0:
			return b.String(), s[i:], nil
		case s[i] == '\\':
			i++
			if i < len(s) {
				b.WriteByte(s[i])
			}
		default:
			b.WriteByte(s[i])
		}
	}
	if quoted {
		return "", "", fmt.Errorf("%w: a quote is not closed", ErrDSN)
	}
	return b.String(), "", nil
}

func canonical(key string) string {
	if key == "database" {
		return "dbname"
	}
	return key
}
