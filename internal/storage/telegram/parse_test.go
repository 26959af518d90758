package telegram_test

import (
	"strings"
	"testing"

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
