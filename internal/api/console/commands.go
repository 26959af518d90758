package console

import (
	"path"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/seal"
)

// command is a block of lines for a shell.
type command struct{ Title, Text string }

// commands returns the commands that restore an export.
func commands(id, key string, a export.Artifact) []command {
	encrypted := a.Encryption == seal.Age
	identity := ""
	if encrypted {
		identity = " -i key.txt"
	}
	out := []command{{"With pgcourier: check, then restore into an empty database", "pgcourier verify " + quote(id) + identity + "\n" +
		"pgcourier restore " + quote(id) + identity + " --to postgres://USER@HOST/DATABASE"}}
	name := path.Base(key)
	if key == "" {
		return out
	}
	text := "echo " + quote(a.SHA256+"  "+name) + " | sha256sum --check\n"
	file := quote(name)
	if encrypted {
		text += "age --decrypt --identity key.txt --output compressed " + file + "\n"
		file = "compressed"
	}
	switch a.Compression {
	case seal.Gzip:
		text += "gzip --decompress --stdout " + file + " > dump\n"
		file = "dump"
	case seal.Zstd:
		text += "zstd --decompress -o dump " + file + "\n"
		file = "dump"
	case seal.Plain:
	}
	switch a.Format {
	case export.SQL:
		text += "psql --no-psqlrc --set=ON_ERROR_STOP=1 --single-transaction --file=" + file + " DATABASE"
	case export.Tar, export.Custom:
		text += "pg_restore --exit-on-error --single-transaction --no-owner --no-acl --dbname=DATABASE " + file
	case export.Directory:
		text += "mkdir tables && tar --extract --directory=tables --file=" + file + "\n" +
			"pg_restore --exit-on-error --jobs=4 --no-owner --no-acl --dbname=DATABASE tables"
	}
	return append(out, command{"With public tools only, for the downloaded file", text})
}

// quote returns a word for a shell. Plain words stay as they are.
func quote(s string) string {
	plain := s != ""
	out := []byte{'\''}
	for i := range len(s) {
		c := s[i]
		plain = plain && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.' || c == '/')
		if c == '\'' {
			out = append(out, `'\''`...)
			continue
		}
		out = append(out, c)
	}
	if plain {
		return s
	}
	return string(append(out, '\''))
}
