package term_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/pgcourier/pgcourier/internal/term"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func TestAgesAreShort(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		0: "0s", 45 * time.Second: "45s", 119 * time.Second: "1m59s", 3 * time.Minute: "3m", 119 * time.Minute: "1h59m",
		5 * time.Hour: "5h", 47 * time.Hour: "47h", 48 * time.Hour: "2d", 400 * 24 * time.Hour: "400d", -time.Hour: "0s",
	} {
		at := noon.Add(-d)
		if got := (term.Screen{Now: noon}).Age(&at); got != want {
			t.Errorf("%s ago is %q, want %q", d, got, want)
		}
	}
	if got := (term.Screen{Now: noon}).Age(nil); got != "-" {
		t.Errorf("no time is %q", got)
	}
}

func TestABufferIsNoTerminal(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	environ := []string{"TERM=xterm"}
	if s := term.Open(&out, environ); s.Width != 0 || s.Colour {
		t.Errorf("it is accepted as %+v", s)
	}
	p := term.NewProgress(&out, environ)
	p.Set("a", "text")
	p.Bytes("b", 1, 2)
	p.Println("stays")
	p.Remove("a")
	p.Close()
	p.Close()
	if out.Len() > 0 {
		t.Errorf("progress wrote %q", out.String())
	}
}

// A name must not forge a second row, move the cursor, or hide what it is.
func TestTextFromOutsideIsSanitised(t *testing.T) {
	t.Parallel()
	const hostile = "a\nb\x1b[2J\u202egpj\u200b\\n"
	const want = `a\nb\x1b[2J\u202egpj\u200b\n`
	if got := term.Sanitize(hostile); got != want || term.Sanitize(got) != want {
		t.Errorf("sanitised: %q", got)
	}
	table := term.Table{Columns: []term.Column{{Title: "NAME"}}}
	table.Add(hostile)
	if got := table.Text(term.Screen{}); got != "NAME\n"+want+"\n" {
		t.Errorf("table: %q", got)
	}
	if got := (term.Screen{}).Pairs([][2]string{{"name", hostile}}); got != "name  "+want+"\n" {
		t.Errorf("pairs: %q", got)
	}
	var out bytes.Buffer
	if err := term.WriteJSONLine(&out, map[string]string{"name": "\u009b31m\u202e\U000e0001"}); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); got != `{"name":"\u009b31m\u202e\udb40\udc01"}`+"\n" {
		t.Errorf("JSON: %q", got)
	}
}

func TestANarrowScreenLosesColumnsBeforeIDs(t *testing.T) {
	t.Parallel()
	table := term.Table{Columns: []term.Column{{Title: "ID", ID: true}, {Title: "NOTE"}, {Title: "MORE", Drop: 1}}}
	table.Add("20261123t082653-k3j9x7q2", "a note that is long", "as much again and more")
	for width, want := range map[int]string{
		0:  "20261123t082653-k3j9x7q2  a note that is long  as much again and more\n",
		50: "20261123t082653-k3j9x7q2  a note tha…  as much ag…\n",
		40: "20261123t082653-k3j9x7q2  a note that i…\n",
		30: "20261123t082653-k3j…  a note …\n",
	} {
		_, got, _ := strings.Cut(table.Text(term.Screen{Width: width}), "\n")
		if got != want {
			t.Errorf("at %d: %q, want %q", width, got, want)
		}
	}
}
