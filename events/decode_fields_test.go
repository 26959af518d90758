package events_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/pgcourier/pgcourier/events"
)

func TestDecodeRefusesStoragePaths(t *testing.T) {
	t.Parallel()
	for _, p := range []string{
		"", "/", "/etc", "a/", "a//b", ".", "..", "../a", "a/..", "a/../b", "a/./b", ".hidden", "a/.hidden", "a.", "a ", " a",
		"a /b", `a\b`, `..\a`, "C:", "C:/x", "a%2e%2e", "%2e%2e/x", "%252e%252e", "a:b", "file:///etc", "s3://b/k", "~", "~/a",
		"a\x00b", "a\nb", "-rf", "a/-rf", "．．/a", "a/․․/b", "ä", "a*", "a?b=c", "a#b", "$HOME", "`id`", "a|b", "a;b", "a'b", `a"b`,
		"A b", "a.manifest.json", "a.part-00001/b",
		strings.Repeat("x", 201), strings.Repeat("a/", 16) + "a",
	} {
		_, err := events.Requested{ProjectID: "acme", StoragePath: p}.Normalize()
		if p == "" {
			// The zero value in Go means absent; in JSON the empty string is refused.
			refused(t, events.Message{Body: []byte(bad(`"storage_path":""`))}, "storage_path", "")
			continue
		}
		if inv, ok := errors.AsType[*events.InvalidError](err); !ok || inv.Field != "storage_path" {
			t.Errorf("storage path %q: %v", p, err)
		}
	}
	for _, p := range []string{"a", "nightly", "nightly/2026", "A-b/c.d_e-f", "a..b", "a.part-1", "_x", "9", strings.Repeat("x", 200), strings.Repeat("a/", 15) + "a"} {
		if _, err := (events.Requested{ProjectID: "acme", StoragePath: p}).Normalize(); err != nil {
			t.Errorf("storage path %q: %v", p, err)
		}
	}
}

func TestDecodeRefusesMailAddresses(t *testing.T) {
	t.Parallel()
	for _, a := range []string{
		"ops", "@example.com", "ops@", "ops@localhost", "ops@example.com,b@example.com", "a@example.com b@example.com",
		"a@b@example.com", "Ops <ops@example.com>", "<ops@example.com>", `"o p"@example.com`, "ops@[127.0.0.1]", "ops@[IPv6:::1]",
		"ops@127.0.0.1", "ops@example.com\r\nBcc: x@example.com", "ops@example.com\n", "\nops@example.com", "ops@example.com ",
		"ops(c)@example.com", "ops@example..com", "ops@-example.com", "ops@example-.com", "ops@example.com.", ".ops@example.com",
		"ops.@example.com", "o..ps@example.com", "-oQ/tmp@example.com", "a%b.org@example.com", "b.org!a@example.com", "|id@example.com",
		"mailto:ops@example.com", "öps@example.com", "ops@exämple.com", "ops\x00@example.com", "ops@example.com;x@example.com",
		strings.Repeat("x", 65) + "@example.com", "a@" + strings.Repeat("x", 64) + ".com",
		"a@" + strings.Repeat(strings.Repeat("x", 50)+".", 5) + "com",
	} {
		_, err := events.Requested{ProjectID: "acme", NotifyEmail: a}.Normalize()
		if inv, ok := errors.AsType[*events.InvalidError](err); !ok || inv.Field != "notify_email" {
			t.Errorf("address %q: %v", a, err)
		}
	}
	for _, a := range []string{"ops@example.com", "a.b+tag@mail.example.co.uk", "o'neil@example.com", "_x@xn--exmple-cua.com", strings.Repeat("x", 64) + "@example.com"} {
		if _, err := (events.Requested{ProjectID: "acme", NotifyEmail: a}).Normalize(); err != nil {
			t.Errorf("address %q: %v", a, err)
		}
	}
}
