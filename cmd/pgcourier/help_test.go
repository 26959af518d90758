package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Every command says what it is, shows how it is used, and explains every flag.
func TestEveryCommandExplainsItself(t *testing.T) {
	t.Parallel()
	root := newRoot(process{stdout: io.Discard, stderr: io.Discard})
	seen := 0
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		seen++
		name := c.CommandPath()
		first := c.Short
		switch {
		case first == "":
			t.Errorf("%s: no Short", name)
		case strings.HasSuffix(first, ".") || first[:1] != strings.ToUpper(first[:1]):
			t.Errorf("%s: %q is not as the others are: a capital, no full stop", name, first)
		}
		if c.Example == "" {
			t.Errorf("%s: no Example", name)
		}
		for line := range strings.Lines(c.Example) {
			if !strings.HasPrefix(line, "  ") || !strings.Contains(line, "pgcourier") {
				t.Errorf("%s: the example %q is not an indented command", name, line)
			}
			if len(strings.TrimRight(line, "\n")) > 110 {
				t.Errorf("%s: the example %q is too long", name, line)
			}
		}
		if c.HasParent() && c.Args == nil && c.Runnable() {
			t.Errorf("%s: does not say which arguments it takes", name)
		}
		for line := range strings.Lines(c.Long) {
			if len([]rune(strings.TrimRight(line, "\n"))) > 90 && c.Name() != "completion" && c.Parent().Name() != "completion" {
				t.Errorf("%s: a line of the help is too long: %q", name, line)
			}
		}
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if f.Usage == "" || f.Hidden {
				t.Errorf("%s --%s: not documented", name, f.Name)
			}
			if strings.Contains(f.Usage, "`") { // pflag takes the quoted word as the name of the value
				t.Errorf("%s --%s: back quotes in %q", name, f.Name, f.Usage)
			}
		})
		for _, sub := range c.Commands() {
			if sub.Name() != "help" {
				walk(sub)
			}
		}
	}
	walk(root)
	if seen < 15 {
		t.Errorf("saw %d commands only", seen)
	}
}

func TestManPagesAreGenerated(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "man1")
	var stderr strings.Builder
	p := process{stdout: io.Discard, stderr: &stderr}
	if code := run(t.Context(), []string{"man", dir}, p); code != 0 {
		t.Fatalf("man ended with %d: %s", code, stderr.String())
	}
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		b, err := os.ReadFile(filepath.Join(dir, strings.ReplaceAll(c.CommandPath(), " ", "-")+".1"))
		text := strings.ReplaceAll(string(b), `\`, "")
		if err != nil || !strings.Contains(text, ".SH NAME") || !strings.Contains(text, ".SH EXAMPLE") || !strings.Contains(text, c.Short) {
			t.Errorf("%s: %v\n%.300s", c.CommandPath(), err, text)
		}
		for _, sub := range c.Commands() {
			if sub.Name() != "help" {
				walk(sub)
			}
		}
	}
	walk(newRoot(p))
}
