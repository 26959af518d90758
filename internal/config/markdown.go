package config

import (
	"fmt"
	"strings"
)

// Markdown returns the table of all settings, as docs/settings.md shows it.
func Markdown() string {
	var b strings.Builder
	b.WriteString("| variable | default | meaning |\n|---|---|---|\n")
	for _, s := range Settings() {
		def := ""
		if s.Default != "" {
			def = "`" + s.Default + "`"
		}
		help := s.Help
		if s.Secret {
			help += "; also `" + s.Env + "_FILE`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", s.Env, def, help)
	}
	return b.String()
}
