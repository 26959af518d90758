package config

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/dustin/go-humanize"

	"github.com/pgcourier/pgcourier/internal/secret"
)

// ByteSize is a number of bytes, written as "10GiB" or "500 MB".
type ByteSize int64

// UnmarshalText parses a size with an optional unit, of 1000 or (with an i) of 1024.
func (b *ByteSize) UnmarshalText(text []byte) error {
	n, err := humanize.ParseBytes(string(text))
	if err != nil || n > 1<<62 {
		return fmt.Errorf("%q is not a size such as 10GiB", text)
	}
	*b = ByteSize(n)
	return nil
}

// Setting describes one field of Config.
type Setting struct {
	Name, Env, Flag, Default, Help string
	Secret                         bool
	Whole                          bool // all of it is secret, not only a password within
}

// Settings lists the fields of Config in order.
func Settings() []Setting {
	var out []Setting
	for _, f := range reflect.VisibleFields(reflect.TypeFor[Config]()) {
		name := f.Tag.Get("env")
		if name == "" {
			continue // no setting, or a struct: its fields follow
		}
		out = append(out, Setting{
			Name: name, Env: Prefix + name, Flag: strings.ReplaceAll(strings.ToLower(name), "_", "-"),
			Default: f.Tag.Get("envDefault"), Help: f.Tag.Get("help"), Secret: f.Type == reflect.TypeFor[secret.String](),
			Whole: f.Tag.Get("whole") == "true",
		})
	}
	return out
}
