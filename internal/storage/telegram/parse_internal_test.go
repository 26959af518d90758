package telegram

import (
	"errors"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/pgcourier/pgcourier/internal/storage"
)

const someSum = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

func FuzzParseReference(f *testing.F) {
	for _, s := range []string{
		"tg1.7000000001.-1001234567890.17.19922944." + someSum + ".BQACAgIAAx0-_abc",
		"tg1.7000000001.-1001234567890.17.0." + someSum + ".BQACAgIAAx0",
		"tg1.+7.-1.17.1." + someSum + ".B",
		"tg1.07.-1.17.1." + someSum + ".B",
		"tg1.7.-1.-17.1." + someSum + ".B",
		"tg1.7.-1.17.1." + strings.ToUpper(someSum) + ".B",
		"tg1.7.-1.17.1.00.B",
		"tg1.7.-1.17.1." + someSum + ".",
		"tg1.7.-1.17.1." + someSum + ".../etc",
		"tg1.7.99999999999999999999.17.1." + someSum + ".B",
		"tg2.7.-1.17.1." + someSum + ".B",
		"", "......",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := parseReference(storage.Ref(s))
		if err != nil {
			if r != (reference{}) {
				t.Errorf("%q: an error and %+v", s, r)
			}
			return
		}
		if got := string(r.ref()); got != s {
			t.Errorf("%q is read as %q", s, got)
		}
		if r.bot <= 0 || r.chat == 0 || r.message <= 0 || r.size <= 0 || len(s) > storage.MaxRef || strings.ContainsAny(r.fileID, "/. \n") {
			t.Errorf("%q is accepted as %+v", s, r)
		}
	})
}

// fileNameShape is the form of all names of blobs: hash, kind, part and parts.
var fileNameShape = regexp.MustCompile(`^[A-Za-z0-9._-]{0,22}-([0-9a-f]{12})\.(data|manifest|part-([0-9]{5}))(?:-of-([0-9]{5}))?\.pgc$`)

func FuzzFileName(f *testing.F) {
	f.Add("acme/request-17.1.sql.zst.age", 540, 540, false)
	f.Add("a", 0, 0, true)
	f.Add(strings.Repeat("long", 55)+"/"+strings.Repeat("name", 55), 99999, 99999, false)
	f.Add("a.b", 1, 0, false)
	f.Fuzz(func(t *testing.T, key string, number, parts int, manifest bool) {
		n := storage.Name{Key: key, Part: number}
		if manifest {
			n = storage.Name{Key: key, Kind: storage.Manifest}
		}
		if n.Check() != nil || parts < 0 || parts > storage.MaxParts || parts != 0 && parts < n.Part || n.Part == 0 && !manifest && parts != 0 {
			return // none that a repository makes
		}
		name := fileName(n, parts)
		u := Upload{Name: name, Caption: caption(storage.Blob{Name: n, Parts: parts}), Body: strings.NewReader("x"), Size: 1}
		if err := u.validate(); err != nil {
			t.Fatal(err)
		}
		m := fileNameShape.FindStringSubmatch(name)
		if m == nil || len(name) > 60 {
			t.Fatalf("%+v is called %q", n, name)
		}
		// The name has the kind of the blob, and the number of parts if it is known.
		digits := func(digits string) int { v, _ := strconv.Atoi(digits); return v }
		if m[1] != KeyHash(key) || (m[2] == "manifest") != manifest || digits(m[3]) != n.Part || digits(m[4]) != parts {
			t.Errorf("%+v of %d parts is called %q", n, parts, name)
		}
	})
}

func FuzzParseLocation(f *testing.F) {
	f.Add("telegram://-1001234567890?api=http://localhost:8081&part_size=19MiB")
	f.Add("telegram://4242/acme/x?message=1")
	f.Fuzz(func(t *testing.T, s string) {
		l, err := ParseLocation(s)
		if err == nil && (l.Chat == 0 || l.PartSize < 0 || l.PartSize > MaxLocalPart) {
			t.Errorf("%q is read as %+v", s, l)
		}
		if err != nil && l.Chat == 0 && l != (Location{}) {
			t.Errorf("%q: %v, and %+v", s, err, l)
		}
		// A token does not belong into the URL: one in the place of a login is refused and not
		// repeated.
		rest, ok := strings.CutPrefix(s, "telegram://")
		if _, err := ParseLocation("telegram://123:CANARY@" + rest); ok && !strings.HasPrefix(rest, "/") && (err == nil || strings.Contains(err.Error(), "CANARY") && !strings.Contains(rest, "CANARY")) {
			t.Errorf("with a token: %v", err)
		}
	})
}

// For any answer of any server: never a panic, never a token, and no success without "ok".
func FuzzDecodeAnswer(f *testing.F) {
	f.Add(200, []byte(`{"ok":true,"result":{"message_id":1,"document":{"file_id":"x","file_size":1}}}`))
	f.Add(429, []byte(`{"ok":false,"error_code":429,"description":"Too Many Requests: retry after 5","parameters":{"retry_after":5}}`))
	f.Add(429, []byte(`{"ok":false,"parameters":{"retry_after":9223372036854775807}}`))
	f.Add(502, []byte(`<html>502</html>`))
	f.Add(200, []byte(`{"ok":true,"result":[]}`))
	f.Add(400, []byte("{\"description\":\"/bot123:ABCDEFGHIJKLMNOPQRSTUVWXYZ/x \u0000\"}"))
	c, err := NewClient(ClientConfig{Token: "123:ABCDEFGHIJKLMNOPQRSTUVWXYZ"})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, code int, raw []byte) {
		var m Message
		err := c.decode(methodSend, &http.Response{StatusCode: code}, raw, &m)
		if err == nil {
			if code/100 != 2 {
				t.Errorf("status %d is a success", code)
			}
			return
		}
		if s := err.Error(); strings.Contains(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") || strings.ContainsAny(s, "\x00\n\r") {
			t.Errorf("shown: %q", s)
		}
		if api, ok := errors.AsType[*APIError](err); ok && api.RetryAfter < 0 {
			t.Errorf("wait %v", api.RetryAfter)
		}
	})
}
