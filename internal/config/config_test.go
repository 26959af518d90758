package config_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pgcourier/pgcourier/internal/config"
)

func TestDefaultsAreValidAndStated(t *testing.T) {
	t.Parallel()
	c, err := config.Load(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if c.MaxBytes != 10<<30 || c.Timeout != 30*time.Minute || c.Concurrency != 2 || c.OutcomeRetention != 90*24*time.Hour || c.EventRetention != 90*24*time.Hour || c.LedgerRetention != 400*24*time.Hour {
		t.Errorf("defaults are %+v", c)
	}
	for _, s := range config.Settings() {
		if s.Help == "" || s.Name == "" {
			t.Errorf("setting %+v has no name or no help", s)
		}
	}
}

func TestFlagsWinOverFilesAndVariables(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "dsn")
	if err := os.WriteFile(file, []byte("postgres://u:canary@h/db\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(
		[]string{"PGCOURIER_DATABASE_URL_FILE=" + file, "PGCOURIER_CONCURRENCY=3", "PGCOURIER_ACK_WAIT=5s", "PGCOURIER_STORAGE="},
		map[string]string{"CONCURRENCY": "7"})
	if err != nil {
		t.Fatal(err)
	}
	if got := c.DatabaseURL.Reveal(); got != "postgres://u:canary@h/db" {
		t.Errorf("DATABASE_URL = %q", got)
	}
	if c.Concurrency != 7 || c.AckWait != 5*time.Second {
		t.Errorf("CONCURRENCY = %d, ACK_WAIT = %s", c.Concurrency, c.AckWait)
	}
	if urls, err := c.StorageURLs(); err != nil || len(urls) != 1 || !strings.HasPrefix(urls[0], "file:///") || !strings.HasSuffix(urls[0], "/pgcourier-data/exports") {
		t.Errorf("StorageURLs() = %q, %v", urls, err)
	}
}

func TestAllFaultsAreReportedTogether(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name    string
		environ []string
		flags   map[string]string
		want    []string
	}{
		{"values that do not parse", []string{"PGCOURIER_CONCURRENCY=many", "PGCOURIER_TIMEOUT=soon", "PGCOURIER_MAX_BYTES=big"}, nil,
			[]string{"Concurrency", "Timeout", "MaxBytes"}},
		{"values out of range", []string{"PGCOURIER_CONCURRENCY=0", "PGCOURIER_ACK_WAIT=1ms", "PGCOURIER_NATS_REPLICAS=2", "PGCOURIER_ROLES=worker,king", "PGCOURIER_LOG_LEVEL=loud"}, nil,
			[]string{"CONCURRENCY", "ACK_WAIT", "NATS_REPLICAS", "ROLES", "LOG_LEVEL"}},
		{"a ledger that forgets outcomes that the broker still has", []string{"PGCOURIER_LEDGER_RETENTION=2159h"}, nil, []string{"LEDGER_RETENTION: 2159h0m0s is less than OUTCOME_RETENTION, 2160h0m0s"}},
		{"outcomes that outlive the default", []string{"PGCOURIER_OUTCOME_RETENTION=9601h"}, nil, []string{"LEDGER_RETENTION: 9600h0m0s is less"}},
		{"a negative retention", []string{"PGCOURIER_LEDGER_RETENTION=-1h"}, nil, []string{"LEDGER_RETENTION"}},
		{"streams that are smaller than a message", []string{"PGCOURIER_NATS_STREAM_MAX_BYTES=1000"}, nil, []string{"NATS_STREAM_MAX_BYTES: at least 1MiB"}},
		{"a misspelt name", []string{"PGCOURIER_CONCURENCY=2"}, nil, []string{"PGCOURIER_CONCURENCY: no such setting"}},
		{"a secret given twice", []string{"PGCOURIER_DATABASE_URL=a", "PGCOURIER_DATABASE_URL_FILE=b"}, nil, []string{"both set"}},
		{"a secret's file that is missing", []string{"PGCOURIER_DATABASE_URL_FILE=/nonexistent/dsn"}, nil, []string{"no such file"}},
		{"a password in a flag", nil, map[string]string{"DATABASE_URL": "postgres://u:canary@h/db"}, []string{"--database-url-file"}},
		{"a password in a keyword string", nil, map[string]string{"DATABASE_URL": "host=h password=canary"}, []string{"--database-url-file"}},
		{"a key's password in a flag", nil, map[string]string{"DATABASE_URL": "postgres://u@h/db?sslpassword=canary"}, []string{"--database-url-file"}},
		{"a broker's token in a flag", nil, map[string]string{"NATS_URL": "nats://h,tls://canary@h"}, []string{"--nats-url-file"}},
		{"a token in a flag", nil, map[string]string{"TELEGRAM_TOKEN": "123:canary"}, []string{"--telegram-token-file"}},
		{"a password in a URL that does not parse", nil, map[string]string{"NATS_URL": "nats://u:can%ary@h"}, []string{"--nats-url-file"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := config.Load(c.environ, c.flags)
			if err == nil {
				t.Fatal("Load accepted it")
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error lacks %q:\n%v", want, err)
				}
			}
			if strings.Contains(err.Error(), "canary") {
				t.Errorf("the error holds the password: %v", err)
			}
		})
	}
}

func TestALedgerMayForgetNothing(t *testing.T) {
	t.Parallel()
	if c, err := config.Load([]string{"PGCOURIER_LEDGER_RETENTION=0", "PGCOURIER_OUTCOME_RETENTION=20000h"}, nil); err != nil || c.LedgerRetention != 0 {
		t.Errorf("LEDGER_RETENTION = %s, %v", c.LedgerRetention, err)
	}
	if _, err := config.Load([]string{"PGCOURIER_LEDGER_RETENTION=2160h"}, nil); err != nil {
		t.Errorf("as long as outcomes: %v", err)
	}
}

func TestAURLWithoutPasswordMayBeAFlag(t *testing.T) {
	t.Parallel()
	c, err := config.Load(nil, map[string]string{"DATABASE_URL": "postgres://u@h/db?sslmode=require", "NATS_URL": "nats://127.0.0.1:4222,nats://127.0.0.1:4223"})
	if err != nil {
		t.Fatal(err)
	}
	if c.DatabaseURL.Reveal() == "" || c.NATSURL.Reveal() == "" {
		t.Error("the flags were not used")
	}
}

func TestStorageIsAList(t *testing.T) {
	t.Parallel()
	c, err := config.Load([]string{"PGCOURIER_STORAGE=file:///srv/exports,s3://bucket/eu?region=eu-west-1", "PGCOURIER_TELEGRAM_TOKEN=123:canary"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	urls, err := c.StorageURLs()
	if want := []string{"file:///srv/exports", "s3://bucket/eu?region=eu-west-1"}; err != nil || !slices.Equal(urls, want) {
		t.Errorf("StorageURLs() = %q, %v", urls, err)
	}
	if fmt.Sprint(c.TelegramToken) != "***" || c.UploadTimeout != 2*time.Hour || c.AllowPlaintext {
		t.Errorf("token %v, upload timeout %s, plaintext %t", c.TelegramToken, c.UploadTimeout, c.AllowPlaintext)
	}
}

// The variables that a Service named pgcourier, or pgcourier-nats, puts into each container of its
// namespace stop no command. A misspelt setting still does.
func TestAKubernetesServicesVariablesAreNoSettings(t *testing.T) {
	t.Parallel()
	links := func(service string) []string {
		return []string{
			service + "_SERVICE_HOST=10.96.0.7", service + "_SERVICE_PORT=8080", service + "_SERVICE_PORT_HTTP=8080",
			service + "_PORT=tcp://10.96.0.7:8080", service + "_PORT_8080_TCP=tcp://10.96.0.7:8080", service + "_PORT_8080_TCP_PROTO=tcp",
			service + "_PORT_8080_TCP_PORT=8080", service + "_PORT_8080_TCP_ADDR=10.96.0.7",
		}
	}
	environ := slices.Concat(links("PGCOURIER"), links("PGCOURIER_NATS"), links("PGCOURIER_WORKER_2"))
	c, err := config.Load(environ, nil)
	if err != nil || c.NATSPort != 4222 {
		t.Errorf("port %d, %v", c.NATSPort, err)
	}
	if c, err = config.Load(append(links("PGCOURIER"), "PGCOURIER_NATS_PORT=4333"), nil); err != nil || c.NATSPort != 4333 {
		t.Errorf("port %d, %v", c.NATSPort, err)
	}
	for _, wrong := range []string{"PGCOURIER_HTTP_PORT=8080", "PGCOURIER_PORT=8080"} {
		if _, err := config.Load([]string{wrong}, nil); err == nil {
			t.Errorf("%s was accepted", wrong)
		}
	}
}

func TestLedgerCallsFollowTheRoles(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		roles       string
		concurrency string
		want        int32
	}{
		{"", "", 6}, {"worker", "10", 14}, {"worker", "256", 20}, {"verifier", "10", 4}, {"api", "10", 20}, {"intake,worker,sweeper,api", "10", 30},
	} {
		got, err := config.Load([]string{"PGCOURIER_ROLES=" + c.roles, "PGCOURIER_CONCURRENCY=" + c.concurrency}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if n := got.LedgerCalls(); n != c.want {
			t.Errorf("roles %q, concurrency %q: %d calls, want %d", c.roles, c.concurrency, n, c.want)
		}
	}
}
