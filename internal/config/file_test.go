package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pgcourier/pgcourier/internal/config"
)

// home makes a home folder with a file of settings, and returns both.
func home(t *testing.T, text string) (dir, file string) {
	t.Helper()
	dir = t.TempDir()
	file = filepath.Join(dir, ".config", "pgcourier", "config")
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir, file
}

func TestTheFileIsBelowTheEnvironmentAndFlags(t *testing.T) {
	t.Parallel()
	dir, file := home(t, "\n# a remark\nPGCOURIER_DATA_DIR = /from/file\r\nPGCOURIER_NATS_HOST='::1'\n"+
		`PGCOURIER_PASSWORD_COMMAND=["cat", "a=b"]`+"\nPGCOURIER_DATABASE_URL=postgres://file\nPGCOURIER_SMTP_URL=smtp://file:25\nPGCOURIER_LOG_LEVEL=debug")
	url := filepath.Join(dir, "url")
	if err := os.WriteFile(url, []byte("postgres://secret-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load([]string{"HOME=" + dir, "PGCOURIER_DATABASE_URL_FILE=" + url, "PGCOURIER_LOG_LEVEL="}, map[string]string{"NATS_HOST": "127.0.0.2"})
	if err != nil {
		t.Fatal(err)
	}
	if c.File != file || c.DataDir != "/from/file" || c.NATSHost != "127.0.0.2" || c.DatabaseURL != "postgres://secret-file" ||
		c.SMTPURL != "smtp://file:25" || c.LogLevel != "info" || strings.Join(c.PasswordCommand, "|") != "cat|a=b" {
		t.Errorf("%+v", c)
	}
	for _, way := range []struct {
		environ []string
		flags   map[string]string
		file    string
	}{
		{environ: nil},
		{environ: []string{"HOME=" + t.TempDir()}},
		{environ: []string{"HOME=" + t.TempDir(), "XDG_CONFIG_HOME=" + filepath.Join(dir, ".config")}, file: file},
		{environ: []string{"HOME=" + dir, "XDG_CONFIG_HOME=relative"}, file: file},
		{environ: []string{"PGCOURIER_CONFIG=" + file}, file: file},
		{environ: []string{"PGCOURIER_CONFIG=/missing"}, flags: map[string]string{"CONFIG": file}, file: file},
	} {
		if c, err := config.Load(way.environ, way.flags); err != nil || c.File != way.file {
			t.Errorf("%q, %v: the file is %q, %v; want %q", way.environ, way.flags, c.File, err, way.file)
		}
	}
}

func TestAFileThatCannotBeReadIsAnError(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"PGCOURIER_STORAGE=a\ncanary-password\n":          "line 2 is not NAME=value",
		"PGCOURIER_STORRAGE=a\nSTORAGE=b\n":               "line 2: STORAGE: no such setting",
		"PGCOURIER_DATA_DIR=a\nPGCOURIER_DATA_DIR=b\n":    "line 2: PGCOURIER_DATA_DIR is set twice",
		"PGCOURIER_CONFIG=/other\n":                       "line 1: PGCOURIER_CONFIG: a file of settings cannot name another one",
		"PGCOURIER_SMTP_URL=x\nPGCOURIER_SMTP_URL_FILE=y": "PGCOURIER_SMTP_URL and PGCOURIER_SMTP_URL_FILE are both set",
	} {
		dir, file := home(t, text)
		_, err := config.Load([]string{"HOME=" + dir}, nil)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
		if strings.HasPrefix(want, "line") && !strings.Contains(err.Error(), file+": ") {
			t.Errorf("%v does not name the file", err)
		}
	}
	if _, err := config.Load([]string{"PGCOURIER_CONFIG=/missing"}, nil); err == nil || !strings.Contains(err.Error(), "PGCOURIER_CONFIG: open /missing") {
		t.Errorf("a named file that is missing: %v", err)
	}
}

func TestAWrittenFileIsRead(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "a", "b", "config")
	settings := [][2]string{{"DATABASE_URL", `host=h password='it''s "x" # y='`}, {"NATS_URL", ""}, {"DATA_DIR", "/srv/a b"}}
	for range 2 { // the second time it is replaced
		if err := config.WriteFile(file, settings); err != nil {
			t.Fatal(err)
		}
	}
	c, err := config.Load([]string{"PGCOURIER_CONFIG=" + file}, nil)
	if err != nil || c.DatabaseURL.Reveal() != settings[0][1] || c.DataDir != "/srv/a b" || c.NATSURL != "" {
		t.Errorf("%+v, %v", c, err)
	}
	entries, err := os.ReadDir(filepath.Dir(file))
	if err != nil || len(entries) != 1 {
		t.Errorf("%v, %v", entries, err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if err := config.WriteFile(file, [][2]string{{"STORAGE", "a\nb"}}); err == nil {
		t.Error("a line break was written")
	}
}
