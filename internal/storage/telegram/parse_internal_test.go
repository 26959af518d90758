package telegram

import (
	"errors"
	"net/http"
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
		got, ok := ParseFileName(name)
		want := FileName{KeyHash: KeyHash(key), Kind: n.Kind, Part: n.Part, Parts: parts}
		if !ok || got != want {
			t.Errorf("%+v is called %q, which is read as %+v, %v", n, name, got, ok)
		}
	})
}

func FuzzParseFileName(f *testing.F) {
	f.Add("x-" + someSum[:12] + ".part-00540-of-00540 (1).pgc")
	f.Add("x-" + someSum[:12] + ".manifest.pgc")
	f.Add("pgcourier-index.pgc")
	f.Fuzz(func(t *testing.T, s string) {
		n, ok := ParseFileName(s)
		if !ok {
			if n != (FileName{}) {
				t.Errorf("%q: none, and %+v", s, n)
			}
			return
		}
		if len(n.KeyHash) != keyHashDigits || strings.Trim(n.KeyHash, "0123456789abcdef") != "" ||
			n.Part < 0 || n.Parts < 0 || n.Part > storage.MaxParts || n.Parts > storage.MaxParts || n.Parts != 0 && n.Part > n.Parts ||
			n.Kind == storage.Manifest && n.Part != 0 || strings.ContainsAny(s, "/\\\x00\n") {
			t.Errorf("%q is read as %+v", s, n)
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
		// A token belongs elsewhere: one that stands where a login does is refused, unrepeated.
		rest, ok := strings.CutPrefix(s, "telegram://")
		if _, err := ParseLocation("telegram://123:CANARY@" + rest); ok && !strings.HasPrefix(rest, "/") && (err == nil || strings.Contains(err.Error(), "CANARY") && !strings.Contains(rest, "CANARY")) {
			t.Errorf("with a token: %v", err)
		}
	})
}

// Any answer of any server: never a panic, never a token, and no success without "ok".
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
