package config

import (
	"net/url"
	"regexp"
	"strings"
)

var (
	passwordKey = regexp.MustCompile(`(?i)(^|[\s?&])(ssl)?password\s*=`)
	// In a broker's URL a user without a password is a token.
	brokerLogin = regexp.MustCompile(`(?i)(^|,)\s*(nats|tls|ws|wss)://[^,]*@`)
)

// holdsPassword reports whether a connection string given as a flag carries a password.
func holdsPassword(v string) bool {
	for one := range strings.SplitSeq(v, ",") {
		if u, err := url.Parse(one); err == nil && u.User != nil {
			if _, set := u.User.Password(); set {
				return true
			}
		}
	}
	// A URL that does not parse may still hold one.
	if at := strings.LastIndex(v, "@"); at >= 0 && strings.Contains(v, "://") {
		userinfo := v[strings.Index(v, "://")+3 : at]
		if strings.Contains(userinfo, ":") {
			return true
		}
	}
	return passwordKey.MatchString(v) || brokerLogin.MatchString(v)
}
