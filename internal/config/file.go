package config

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
)

// DefaultFile returns where Load looks for a file of settings if CONFIG names none:
// $XDG_CONFIG_HOME/pgcourier/config, by default ~/.config/pgcourier/config. Empty: environ has no
// home folder.
func DefaultFile(environ map[string]string) string {
	return underHome(environ, "XDG_CONFIG_HOME", ".config", "config")
}

// DefaultDataDir returns the folder for a user's own data: $XDG_DATA_HOME/pgcourier, by default
// ~/.local/share/pgcourier. Empty: environ has no home folder.
func DefaultDataDir(environ map[string]string) string {
	return underHome(environ, "XDG_DATA_HOME", filepath.Join(".local", "share"), "")
}

// underHome follows the XDG Base Directory Specification: a path that is not absolute is ignored.
func underHome(environ map[string]string, variable, folder, name string) string {
	base := environ[variable]
	if !filepath.IsAbs(base) {
		if environ["HOME"] == "" {
			return ""
		}
		base = filepath.Join(environ["HOME"], folder)
	}
	return filepath.Join(base, "pgcourier", name)
}

// addFile adds the settings of the file to values, which win, and returns the file's path. Empty:
// there is none.
func addFile(values map[string]string, named string) (path string, err error) {
	path = named
	if path == "" {
		path = DefaultFile(values)
	}
	if path == "" {
		return "", nil
	}
	text, err := os.ReadFile(path) //nolint:gosec // the operator names the file
	if named == "" && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission)) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("%sCONFIG: %w", Prefix, err)
	}
	settings, err := parseFile(string(text))
	if err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	given := maps.Clone(values)
	for name, value := range settings {
		setting := strings.TrimSuffix(name, "_FILE")
		_, itself := given[setting]
		if _, file := given[setting+"_FILE"]; !itself && !file {
			values[name] = value
		}
	}
	return path, nil
}

// parseFile reads lines of NAME=value as env files have them: empty lines and lines that begin
// with # are skipped, and a pair of quotes around a value is dropped. Nothing is escaped or
// expanded.
func parseFile(text string) (map[string]string, error) {
	known := names()
	settings := map[string]string{}
	var faults []error
	number := 0
	for line := range strings.SplitSeq(text, "\n") {
		number++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		name, value = strings.TrimSpace(name), unquote(strings.TrimSpace(value))
		switch _, twice := settings[name]; {
		case !ok:
			faults = append(faults, fmt.Errorf("line %d is not NAME=value", number)) // it may be a secret
		case !known[name]:
			faults = append(faults, fmt.Errorf("line %d: %s: no such setting", number, name))
		case name == Prefix+"CONFIG":
			faults = append(faults, fmt.Errorf("line %d: %s: a file of settings cannot name another one", number, name))
		case twice:
			faults = append(faults, fmt.Errorf("line %d: %s is set twice", number, name))
		default:
			settings[name] = value
		}
	}
	return settings, errors.Join(faults...)
}

func unquote(s string) string {
	if n := len(s); n >= 2 && (s[0] == '"' || s[0] == '\'') && s[n-1] == s[0] {
		return s[1 : n-1]
	}
	return s
}

// WriteFile writes a file of settings for its owner only, whole or not at all, in a folder that it
// makes likewise. Settings are pairs of a name, such as STORAGE, and a value; those without a value
// are left out. A value with a line break is an error.
func WriteFile(path string, settings [][2]string) error {
	var b strings.Builder
	b.WriteString("# Settings of pgcourier, NAME=value, one on a line. Flags and the environment override them.\n")
	for _, s := range settings {
		if strings.ContainsAny(s[1], "\r\n") {
			return fmt.Errorf("%s%s: a value with a line break cannot be written to the file", Prefix, s[0])
		}
		if s[1] != "" {
			fmt.Fprintf(&b, "%s%s=%s\n", Prefix, s[0], s[1])
		}
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".config.*") // for its owner only
	if err != nil {
		return err
	}
	_, err = f.WriteString(b.String())
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
