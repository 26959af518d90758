package config

import (
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// Flags gives to a flag for each named setting, all settings if none is named. A secret has a
// second one that ends with -file. The returned function is Load with the flags that were given;
// its error is an *Error.
func Flags(to *pflag.FlagSet, names ...string) func(environ []string) (Config, error) {
	flags := pflag.NewFlagSet("settings", pflag.ContinueOnError)
	given := map[string]*pflag.Flag{}
	for _, s := range Settings() {
		if len(names) > 0 && !slices.Contains(names, s.Name) {
			continue
		}
		flags.String(s.Flag, "", s.usage())
		given[s.Name] = flags.Lookup(s.Flag)
		if s.Secret {
			flags.String(s.Flag+"-file", "", "file that holds --"+s.Flag)
			given[s.Name+"_FILE"] = flags.Lookup(s.Flag + "-file")
		}
	}
	to.AddFlagSet(flags)
	return func(environ []string) (Config, error) {
		set := map[string]string{}
		for name, f := range given {
			if f.Changed {
				set[name] = f.Value.String()
			}
		}
		c, err := Load(environ, set)
		return c, AsError(err)
	}
}

func (s Setting) usage() string {
	text := strings.ReplaceAll(s.Help, "`", "'")
	if s.Default != "" {
		text += " (default " + s.Default + ")"
	}
	return text + " [" + s.Env + "]"
}
