package storage

import (
	"errors"
	"maps"
	"strings"
	"testing"
)

// goodIndex is an index as save writes it.
func goodIndex(t testing.TB, entries map[string]Ref) []byte {
	t.Helper()
	b, err := encodeIndex(entries)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestAnAmbiguousIndexIsDamaged(t *testing.T) {
	t.Parallel()
	good := string(goodIndex(t, map[string]Ref{"acme/r.1.sql": "ref"}))
	if got, err := decodeIndex([]byte(good)); err != nil || got["acme/r.1.sql"] != "ref" {
		t.Fatalf("the good one: %v, %v", got, err)
	}
	for name, c := range map[string]struct {
		doc  string
		want error
	}{
		"nothing":                  {"", ErrDamaged},
		"null":                     {"null", ErrDamaged},
		"a list":                   {"[]", ErrDamaged},
		"another case":             {strings.Replace(good, `"manifests"`, `"Manifests"`, 1), ErrDamaged},
		"a name twice":             {strings.Replace(good, `{"version":1`, `{"version":1,"version":1`, 1), ErrDamaged},
		"an entry twice":           {strings.Replace(good, `{"acme/r.1.sql":"ref"`, `{"acme/r.1.sql":"other","acme/r.1.sql":"ref"`, 1), ErrDamaged},
		"an unknown field":         {strings.Replace(good, `{"version":1`, `{"version":1,"x":1`, 1), ErrDamaged},
		"more behind it":           {good + "{}", ErrDamaged},
		"a byte order mark":        {"\xef\xbb\xbf" + good, ErrDamaged},
		"no version":               {strings.Replace(good, `"version":1`, `"version":0`, 1), ErrDamaged},
		"a later version":          {strings.Replace(good, `"version":1`, `"version":2`, 1), ErrVersion},
		"a later version's fields": {`{"version":2,"shards":[]}`, ErrVersion},
		"a wrong sum":              {strings.Replace(good, "acme", "bolt", 1), ErrDamaged},
		"a key that climbs":        {string(goodIndex(t, map[string]Ref{"../acme": "ref"})), ErrDamaged},
		"an empty reference":       {string(goodIndex(t, map[string]Ref{"acme/r.1.sql": ""})), ErrDamaged},
		"an overlong reference":    {string(goodIndex(t, map[string]Ref{"acme/r.1.sql": Ref(strings.Repeat("x", MaxRef+1))})), ErrDamaged},
	} {
		if got, err := decodeIndex([]byte(c.doc)); !errors.Is(err, c.want) || got != nil {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}

// Accepted text is an index: it names keys that exports have, and stays the same when it is written
// again.
func FuzzDecodeIndex(f *testing.F) {
	f.Add(goodIndex(f, map[string]Ref{"acme/r.1.sql": "ref", "bolt/nightly/r.2.tar.zst.age": "tg1.1.2.3"}))
	f.Add(goodIndex(f, map[string]Ref{}))
	f.Add(goodIndex(f, map[string]Ref{"../x": "ref"}))
	f.Add([]byte(`{"version":2}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := decodeIndex(b)
		if err != nil {
			if got != nil || !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrVersion) {
				t.Fatalf("%v, %v", got, err)
			}
			return
		}
		for key, ref := range got {
			if CheckKey(key) != nil || ref == "" || len(ref) > MaxRef {
				t.Fatalf("accepted %q: %q", key, ref)
			}
		}
		again, err := encodeIndex(got)
		if err != nil {
			t.Fatal(err)
		}
		if twice, err := decodeIndex(again); err != nil || !maps.Equal(twice, got) {
			t.Fatalf("written again it reads %v, %v", twice, err)
		}
	})
}
