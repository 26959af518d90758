package e2e_test

import (
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/pgcourier/pgcourier/internal/config"
)

// refusedCommands runs each command against servers that refuse it or do not exist.
func (s *scene) refusedCommands() {
	s.t.Helper()
	password := s.c.password("password that is refused")
	database := s.dsn("postgres", password, s.database)
	dead := strings.Replace(database, strconv.Itoa(cluster.Port), "1", 1)
	login := func(host string) []string {
		u := url.URL{Scheme: "nats", User: url.UserPassword("u", password), Host: host}
		return []string{"NATS_URL=" + u.String(), "NATS_KEYS="}
	}
	token := url.URL{Scheme: "nats", User: url.User(s.c.word("NATS token")), Host: strings.TrimPrefix(s.broker.ClientURL(), "nats://")}
	creds := s.file("creds", "-----BEGIN NATS USER JWT-----\n"+s.c.word("NATS_CREDS's JWT")+"\n------END NATS USER JWT------\n-----BEGIN USER NKEY SEED-----\n"+s.c.word("NATS_CREDS's seed")+"\n------END USER NKEY SEED------\n")
	worlds := [][]string{
		append(login(token.Host), "DATABASE_URL="+database, "RESTORE_URL="+database, "VERIFY_SCRATCH_URL="+database),
		append(login("127.0.0.1:1"), "DATABASE_URL="+dead, "RESTORE_URL="+dead, "VERIFY_SCRATCH_URL="+dead),
	}
	if !*everyCanary {
		worlds = worlds[:1]
	}
	for _, settings := range worlds {
		settings = append(settings, "STORAGE=file://"+s.storage, "AGE_IDENTITY_FILE="+s.identity)
		for _, args := range [][]string{
			{"serve", "--roles", "worker"}, {"serve", "--roles", "verifier", "--database-url", ""}, {"list"}, {"show", "one"}, {"migrate"}, {"recover"},
			{"restore", "one"}, {"verify", "acme/one", "--restore"}, {"rm", "one", "--yes"}, {"request", "globex"}, {"replay", "full"},
			{"cancel", "one"}, {"watch", "one"}, {"notifications", "list"}, {"notifications", "replay", "email-x"}, {"schedule", "list"},
			{"schedule", "add", "globex", "--cron", "0 3 * * *"}, {"broker", "setup"}, {"list", "--failed"},
		} {
			if r := s.run(settings, args...); r.code == 0 {
				s.t.Errorf("pgcourier %s: exit 0\n%s", strings.Join(args, " "), r.stdout)
			}
		}
	}
	for _, settings := range [][]string{
		{"NATS_URL=" + token.String(), "NATS_KEYS="}, {"NATS_CREDS=" + creds, "NATS_KEYS="}, {"NATS_NKEY=" + creds, "NATS_KEYS="},
	} {
		for _, args := range [][]string{{"serve", "--roles", "verifier"}, {"request", "globex"}} {
			if r := s.run(settings, args...); r.code == 0 {
				s.t.Errorf("pgcourier %s with %s: exit 0\n%s", strings.Join(args, " "), settings[0], r.stdout)
			}
		}
	}
	if r := s.run([]string{"AGE_IDENTITY_FILE=" + creds}, "verify", "one"); r.code != 2 {
		s.t.Errorf("verify with an invalid identity: exit %d, %s", r.code, r.stderr)
	}
	r := s.run(append([]string{"STORAGE=s3://exports?endpoint=http://127.0.0.1:1&region=x"}, s.storage3[1:]...), "doctor", "--only", "storage")
	if r.code != 5 {
		s.t.Errorf("doctor without a server: exit %d", r.code)
	}
	if r := s.run(s.storage3, "doctor"); r.code != 1 { // the token is revoked
		s.t.Errorf("doctor with a revoked token: exit %d, %s", r.code, r.stderr)
	}
}

// invalidSettings gives each setting values that cannot be parsed, with a secret in them: errors of
// parsers often repeat their input.
func (s *scene) invalidSettings() {
	s.t.Helper()
	broken := func(word string) []string {
		return []string{
			word, "://" + word, "http://u:" + word + "%zz@h/", "postgres://u:" + word + "%zz@h/", "postgres://u:" + word + "@h:port/",
			"postgres://u:x/" + word + "@h/d", "host=h password='" + word, "nats://u:" + word + "%zz@h", "nats://u/" + word + "@127.0.0.1:1",
			"smtp://u:" + word + "@h:0?from=a@b.c", "smtp://u:x#" + word + "@h?from=a@b.c", "https://u:" + word + "@[::1/",
			"s3://key:" + word + "@bucket", "s3://bucket?secret=" + word, "s3://bucket?endpoint=https://u:" + word + "@h",
			"telegram://" + word + "@1", "telegram://1?api=http://u:" + word + "@h", "file://u:" + word + "@/x", "whsec_" + word, "123:" + word + "%",
		}
	}
	names := []string{"STORAGE", "NOTIFY_TELEGRAM_CHAT"}
	for _, setting := range config.Settings() {
		if setting.Secret && setting.Name != "LINK_KEY" { // any long word is a valid key for links
			names = append(names, setting.Name)
		}
	}
	word := s.c.word("value that cannot be read")
	for i, value := range broken(word) {
		if !*everyCanary && i%3 != 0 {
			continue
		}
		settings := []string{"ROLES=notifier,verifier,worker"}
		for _, name := range names {
			settings = append(settings, name+"="+value)
		}
		s.run(settings, "serve")
		tried := names // one at a time, the others are valid
		if !*everyCanary {
			tried = names[i/3%len(names):][:1]
		}
		for _, name := range tried {
			args := []string{"serve", "--roles", "worker"}
			switch name {
			case "SMTP_URL", "WEBHOOK_URL", "WEBHOOK_SECRET", "NOTIFY_TELEGRAM_CHAT", "NOTIFY_HOOKS":
				args = []string{"serve", "--roles", "notifier"}
			case "VERIFY_SCRATCH_URL":
				args = []string{"verify", "acme/one", "--restore"}
			case "RESTORE_URL":
				args = []string{"restore", "acme/one"}
			case "TELEGRAM_TOKEN", "STORAGE":
				args = []string{"doctor"}
			}
			settings := append(slices.Clone(s.channels), s.shared...)
			settings = append(append(settings, "STORAGE=file://"+s.storage, "AGE_IDENTITY_FILE="+s.identity), name+"="+value)
			// A broker's URL without a login is valid; a file may have any path.
			if r := s.run(settings, args...); r.code == 0 && name != "TELEGRAM_TOKEN" {
				s.t.Errorf("%s=%s: exit 0", name, strings.ReplaceAll(value, word, "WORD"))
			}
		}
	}
	for _, otel := range []string{"OTEL_EXPORTER_OTLP_HEADERS=" + word, "OTEL_EXPORTER_OTLP_HEADERS=a=" + word + "%zz", "OTEL_EXPORTER_OTLP_HEADERS=a b" + word + "=c",
		"OTEL_EXPORTER_OTLP_TRACES_HEADERS=" + word, "OTEL_EXPORTER_OTLP_ENDPOINT=http://u:" + word + "%zz@h"} {
		if r := s.run([]string{otel}, "serve"); r.code != 2 {
			s.t.Errorf("%s: exit %d", strings.ReplaceAll(otel, word, "WORD"), r.code)
		}
	}
}
