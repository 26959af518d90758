package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// result is the result of one part.
type result struct {
	Part    string             `json:"part"`
	Title   string             `json:"title"`
	Machine machine            `json:"machine"`
	Began   time.Time          `json:"began"`
	Took    float64            `json:"took_seconds"`
	Scale   string             `json:"scale"`
	Load    [2]string          `json:"load_average"` // of the last minute: before the part, and after it
	Figures []figure           `json:"figures"`
	Series  map[string][]trial `json:"series,omitempty"`

	servers string   // of several versions; empty: the machine's
	about   []string // paragraphs: what was done, and how to read it
	tables  []table
	notes   []string // after the tables
}

// table is one table of a part's section.
type table struct {
	head []string
	rows [][]string
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

func (t table) markdown() string {
	var b strings.Builder
	line := func(cells []string) { fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | ")) }
	line(t.head)
	b.WriteString("|" + strings.Repeat("---|", len(t.head)) + "\n")
	for _, r := range t.rows {
		line(r)
	}
	return b.String()
}

// markdown returns the part's section.
func (r result) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "## %s\n\n", r.Title)
	fmt.Fprintf(&b, "`%s` on %s (%s), %.0f s. %s The load average was %s before it and %s at its end.\n",
		target(r.Part), r.Began.Format(time.DateOnly), r.Machine.short(), r.Took, r.Scale, r.Load[0], r.Load[1])
	for _, p := range r.about {
		fmt.Fprintf(&b, "\n%s\n", p)
	}
	for _, t := range r.tables {
		fmt.Fprintf(&b, "\n%s", t.markdown())
	}
	if t := r.targets(); len(t.rows) > 0 {
		fmt.Fprintf(&b, "\n%s", t.markdown())
	}
	for _, n := range r.notes {
		fmt.Fprintf(&b, "\n%s\n", n)
	}
	return b.String()
}

// target returns the command that measures a part.
func target(name string) string {
	for _, p := range parts() {
		if p.name == name && p.alone {
			return "make bench-" + name
		}
	}
	return "make bench BENCH=" + name
}

// targets returns the figures with a target.
func (r result) targets() table {
	t := table{head: []string{"target", "promised", "measured", ""}}
	for _, f := range r.Figures {
		if f.Kind == none {
			continue
		}
		unit := f.Unit
		if unit != "" {
			unit = " " + unit
		}
		t.add(f.Text, fmt.Sprintf("%s %g%s", f.Kind, f.Limit, unit), f.Value.text(2)+unit, "**"+f.Verdict+"**")
	}
	return t
}

func marks(part string) (begin, end string) {
	return "<!-- bench " + part + " -->\n", "<!-- /bench " + part + " -->\n"
}

// keepSection replaces the part's section, or appends it. It keeps the rest of the page.
func (f files) keepSection(r result) error {
	if f.doc == "" {
		return nil
	}
	b, err := os.ReadFile(f.doc)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return write(f.doc, []byte(withSection(string(b), r.Part, r.markdown())))
}

func withSection(page, part, section string) string {
	begin, end := marks(part)
	before, rest, found := strings.Cut(page, begin)
	_, after, closed := strings.Cut(rest, end)
	switch {
	case found && closed:
	case page == "":
		before, after = "# Benchmarks\n\n", ""
	default:
		before, after = strings.TrimRight(page, "\n")+"\n\n", ""
	}
	return before + begin + section + end + after
}

// figuresFile is the format of build/bench.json.
type figuresFile struct {
	// Ratios are all parts' figures by name, PART.NAME.
	Ratios map[string]figure `json:"ratios"`
	Parts  map[string]result `json:"parts"`
}

// keepFigures replaces the part's figures.
func (f files) keepFigures(r result) error {
	if f.figures == "" {
		return nil
	}
	doc := figuresFile{}
	b, err := os.ReadFile(f.figures)
	if err == nil {
		err = json.Unmarshal(b, &doc)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read the former figures: %w", err)
	}
	if doc.Parts == nil {
		doc.Parts = map[string]result{}
	}
	doc.Parts[r.Part] = r
	doc.Ratios = map[string]figure{}
	for name, p := range doc.Parts {
		for _, fig := range p.Figures {
			doc.Ratios[name+"."+fig.Name] = fig
		}
	}
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetIndent("", "  ")
	if err := e.Encode(doc); err != nil {
		return err
	}
	return write(f.figures, out.Bytes())
}

func write(file string, b []byte) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o750); err != nil {
		return err
	}
	return os.WriteFile(file, b, 0o644) //nolint:gosec // a public report
}
