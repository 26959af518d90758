package telegram_test

import (
	"strings"
	"testing"

	"github.com/pgcourier/pgcourier/internal/storage"
	"github.com/pgcourier/pgcourier/internal/storage/telegram"
)

func TestParseLocation(t *testing.T) {
	t.Parallel()
	good := map[string]telegram.Location{
		"telegram://-1001234567890": {Chat: channel},
		"telegram://4242":           {Chat: 4242},
		"telegram://-1001234567890?api=http%3A%2F%2Flocalhost%3A8081&part_size=100MiB&local_dir=/var/lib/bot": {
			Chat: channel, API: "http://localhost:8081", PartSize: 100 << 20, LocalDir: "/var/lib/bot",
		},
		"telegram://-1001234567890?part_size=512KiB":              {Chat: channel, PartSize: 512 << 10},
		"telegram://-1001234567890/" + key + "?message=17":        {Chat: channel},
		"telegram://-1001234567890?part_size=2097152000":          {Chat: channel, PartSize: telegram.MaxLocalPart},
		"telegram://-1001234567890?api=http://127.0.0.1:8081/bot": {Chat: channel, API: "http://127.0.0.1:8081/bot"},
	}
	for raw, want := range good {
		if got, err := telegram.ParseLocation(raw); err != nil || got != want {
			t.Errorf("%s: got %+v, want %+v: %v", raw, got, want, err)
		}
	}
	const secret = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	for _, raw := range []string{
		"", "telegram:", "telegram://", "telegram://@backups", "telegram://0", "telegram://backups", "telegram:-100",
		"file://-100", "telegram://12:" + secret + "@-100", "telegram://12:" + secret, "telegram://-100?token=" + secret,
		"telegram://-100?api=a&api=b", "telegram://-100?part_size=0", "telegram://-100?part_size=-1", "telegram://-100?part_size=9999999999999MiB",
		"telegram://-100?part_size=2001MiB", "telegram://-100?part_size=19MB", "telegram://-100?%zz", "telegram://-100?a;b", "://" + secret,
	} {
		got, err := telegram.ParseLocation(raw)
		if err == nil {
			t.Errorf("%q: accepted as %+v", raw, got)
		} else if strings.Contains(err.Error(), secret) {
			t.Errorf("%q: the secret is in %v", raw, err)
		}
	}
}

func TestParseFileName(t *testing.T) {
	t.Parallel()
	hash := telegram.KeyHash(key)
	good := map[string]telegram.FileName{
		"x-" + hash + ".part-00001.pgc":              {KeyHash: hash, Part: 1},
		"x-" + hash + ".part-00540-of-00540.pgc":     {KeyHash: hash, Part: 540, Parts: 540},
		"x-" + hash + ".part-00540-of-00540 (1).pgc": {KeyHash: hash, Part: 540, Parts: 540},
		"a.b-c_d-" + hash + ".manifest.pgc":          {KeyHash: hash, Kind: storage.Manifest},
		"x-" + hash + ".manifest-of-00540.pgc":       {KeyHash: hash, Kind: storage.Manifest, Parts: 540},
		"x-" + hash + ".data(2).pgc":                 {KeyHash: hash},
	}
	for name, want := range good {
		if got, ok := telegram.ParseFileName(name); !ok || got != want {
			t.Errorf("%s: got %+v %v, want %+v", name, got, ok, want)
		}
	}
	for _, name := range []string{
		"", "pgcourier-index.pgc", "x-" + hash + ".part-1.pgc", "x-" + hash + ".part-00000.pgc", "x-" + hash + ".part-00002-of-00001.pgc",
		"x-" + hash + ".part-00001.exe", "../x-" + hash + ".data.pgc", "x-" + strings.ToUpper(hash) + "G.data.pgc", "x-" + hash + ".data.pgc\n",
	} {
		if got, ok := telegram.ParseFileName(name); ok {
			t.Errorf("%q: accepted as %+v", name, got)
		}
	}
}
