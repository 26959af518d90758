package config_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pgcourier/pgcourier/internal/config"
)

func TestTheNotifierServesWhenAChannelIsSetUp(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		environ []string
		want    []string
	}{
		{nil, []string{"intake", "worker", "sweeper"}},
		{[]string{"PGCOURIER_SMTP_URL=smtp://h?from=a@b.c"}, []string{"intake", "worker", "sweeper", "notifier"}},
		{[]string{"PGCOURIER_SMTP_URL=smtp://h?from=a@b.c", "PGCOURIER_ROLES=worker"}, []string{"worker"}},
		{[]string{"PGCOURIER_WEBHOOK_URL=http://h", "PGCOURIER_WEBHOOK_SECRET=whsec_x", "PGCOURIER_ROLES=notifier"}, []string{"notifier"}},
	} {
		got, err := config.Load(c.environ, nil)
		if err != nil || !slices.Equal(got.Roles, c.want) {
			t.Errorf("%q: roles are %q (%v), want %q", c.environ, got.Roles, err, c.want)
		}
		if got.NotifyBackoff != 30*time.Second || got.NotifyTries != 20 || got.NotifyTimeout != 30*time.Second || got.NotifyComplete {
			t.Errorf("defaults are %+v", got.Notify)
		}
	}
}

func TestTheNotifiersFaultsAreReportedTogether(t *testing.T) {
	t.Parallel()
	_, err := config.Load([]string{
		"PGCOURIER_ROLES=notifier", "PGCOURIER_OPERATOR_EMAIL=a@b.c,Eve <e@b.c>,nobody,\u00f6ps@b.c", "PGCOURIER_NOTIFY_DOMAINS=Example.org,@x.org,*.y.org",
		"PGCOURIER_WEBHOOK_SECRET=whsec_canary", "PGCOURIER_NOTIFY_BACKOFF=0s", "PGCOURIER_NOTIFY_TRIES=0", "PGCOURIER_NOTIFY_TIMEOUT=-1s", "PGCOURIER_NOTIFY_DIGEST=-1s",
	}, nil)
	if err == nil {
		t.Fatal("Load accepted it")
	}
	for _, part := range []string{
		"Eve", "nobody", "other than ASCII", "Example.org", "@x.org", "*.y.org", "OPERATOR_EMAIL needs SMTP_URL", "go together",
		"NOTIFY_BACKOFF", "NOTIFY_TRIES", "NOTIFY_TIMEOUT", "NOTIFY_DIGEST", "notifier needs",
	} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("no %q in %v", part, err)
		}
	}
	if strings.Contains(err.Error(), "canary") {
		t.Errorf("the secret is shown: %v", err)
	}
	_, err = config.Load([]string{"PGCOURIER_NOTIFY_TELEGRAM_CHAT=42"}, nil)
	if err == nil || !strings.Contains(err.Error(), "TELEGRAM_TOKEN") {
		t.Errorf("a chat without a token: %v", err)
	}
}

func TestTheNotifiersSecretsDoNotPrint(t *testing.T) {
	t.Parallel()
	c, err := config.Load([]string{
		"PGCOURIER_SMTP_URL=smtp://u:canary@h?from=a@b.c", "PGCOURIER_WEBHOOK_URL=https://h/canary", "PGCOURIER_WEBHOOK_SECRET=whsec_canary",
	}, nil)
	if err != nil || strings.Contains(fmt.Sprintf("%+v", c), "canary") {
		t.Errorf("%+v, %v", c, err)
	}
	for _, flag := range []string{"WEBHOOK_URL", "WEBHOOK_SECRET"} {
		if _, err := config.Load(nil, map[string]string{flag: "x"}); err == nil || !strings.Contains(err.Error(), "_file") && !strings.Contains(err.Error(), "-file") {
			t.Errorf("%s as a flag: %v", flag, err)
		}
	}
	if _, err := config.Load(nil, map[string]string{"SMTP_URL": "smtp://u:canary@h?from=a@b.c"}); err == nil || strings.Contains(err.Error(), "canary") {
		t.Errorf("a password in a flag: %v", err)
	}
}
