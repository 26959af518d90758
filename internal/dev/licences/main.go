// Command licences writes docs/licences.md from the program's bill of materials, and refuses a
// module with an unreviewed licence. `make licences` and `make check` run it. It is not part of the
// shipped binary.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
)

// accepted are the licences that this project's own licence allows for a dependency. Each only
// requires a distributor of the binary to keep its notice.
var accepted = []string{"0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "BSD-Source-Code", "CC0-1.0", "ISC", "MIT", "MPL-2.0", "Unlicense"}

var errStale = errors.New("docs/licences.md is not up to date: run make licences")

// bill is the used part of a CycloneDX bill of materials.
type bill struct {
	Components []struct {
		Name     string
		Version  string
		Licenses []choice
		Evidence struct{ Licenses []choice }
	}
}

type choice struct {
	Expression string
	License    struct{ ID, Name string }
}

func main() {
	if err := run(os.Args[1:], os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "licences:", err)
		os.Exit(1)
	}
}

func run(args []string, stderr io.Writer) error {
	flags := flag.NewFlagSet("licences", flag.ContinueOnError)
	flags.SetOutput(stderr)
	from := flags.String("sbom", "build/pgcourier.cdx.json", "bill of materials in CycloneDX JSON")
	file := flags.String("file", "docs/licences.md", "the list")
	check := flags.Bool("check", false, "compare instead of writing")
	if err := flags.Parse(args); err != nil {
		return err
	}
	b, err := os.ReadFile(*from)
	if err != nil {
		return fmt.Errorf("read bill of materials: %w", err)
	}
	modules, err := read(b)
	if err != nil {
		return err
	}
	list := markdown(modules)
	if !*check {
		return os.WriteFile(*file, list, 0o644) //nolint:gosec // a public document
	}
	old, err := os.ReadFile(*file)
	if err != nil {
		return fmt.Errorf("read list: %w", err)
	}
	if !bytes.Equal(old, list) {
		return errStale
	}
	return nil
}

// read returns the licence of each module by its name. All missing and refused licences are one
// error.
func read(sbom []byte) (map[string]string, error) {
	var b bill
	if err := json.Unmarshal(sbom, &b); err != nil {
		return nil, fmt.Errorf("decode bill of materials: %w", err)
	}
	if len(b.Components) == 0 {
		return nil, errors.New("the bill of materials names no module")
	}
	modules := map[string]string{}
	var faults []error
	for _, c := range b.Components {
		var ids []string
		for _, l := range append(c.Licenses, c.Evidence.Licenses...) {
			id := l.License.ID + l.License.Name + l.Expression // one of them
			if !slices.Contains(accepted, id) {
				faults = append(faults, fmt.Errorf("%s %s: licence %q is not among the accepted ones", c.Name, c.Version, id))
			}
			ids = append(ids, id)
		}
		if len(ids) == 0 {
			faults = append(faults, fmt.Errorf("%s %s: no licence found", c.Name, c.Version))
		}
		slices.Sort(ids)
		modules[c.Name] = strings.Join(slices.Compact(ids), ", ")
	}
	return modules, errors.Join(faults...)
}

// markdown returns the list without versions: go.sum has them, so the list need not change with
// each version.
func markdown(modules map[string]string) []byte {
	var out bytes.Buffer
	out.WriteString(`# Licences of what the binary contains

Written by ` + "`make licences`" + ` from the bill of materials (` + "`make sbom`" + `); ` + "`make check`" + ` compares it and refuses a
module without a licence or with one that is not on the list in ` + "`internal/dev/licences`" + `. Versions are in ` + "`go.sum`" + `.
The identifiers are those that cyclonedx-gomod recognises in each module's licence file: it gives
BSD-Source-Code for some texts of the three-clause BSD licence.

| module | licence |
|---|---|
`)
	for _, name := range slices.Sorted(maps.Keys(modules)) {
		fmt.Fprintf(&out, "| `%s` | %s |\n", name, modules[name])
	}
	return out.Bytes()
}
