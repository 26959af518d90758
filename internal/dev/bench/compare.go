package main

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
)

// compare compares each of our artifacts with its tenant's single dump.
func (p *tenantPart) compare(ctx context.Context) (equal, different, foreign int, err error) {
	p.tell("comparing %d artifacts with single dumps", len(p.exported))
	for n := range p.tenants {
		if p.reference[n] == nil { // a run with few rounds, or without the loop
			if err := p.single(ctx, n); err != nil {
				return 0, 0, 0, err
			}
		}
	}
	for _, e := range p.exported {
		got, err := plainText(e.file)
		if err != nil {
			return 0, 0, 0, err
		}
		if sameDump(got, p.reference[e.tenant]) {
			equal++
		} else {
			different++
		}
		foreign += foreigners(got, tenantSchema(e.tenant))
	}
	return equal, different, foreign, nil
}

func plainText(file string) ([]byte, error) {
	f, err := os.Open(file) //nolint:gosec // in the lab's folder
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	b, err := io.ReadAll(z)
	return b, errors.Join(err, z.Close())
}

// varying matches the lines in which two plain dumps of the same contents may differ: the restrict
// keys are random.
var varying = regexp.MustCompile(`(?m)^\\(un)?restrict .*$`)

func sameDump(a, b []byte) bool {
	return len(a) > 0 && slices.Equal(varying.ReplaceAll(a, nil), varying.ReplaceAll(b, nil))
}

var anyTenant = regexp.MustCompile(`tenant_\d{5}`)

// foreigners counts the mentions of other tenants: each name of an object and each value contains
// its tenant's name.
func foreigners(dump []byte, own string) (n int) {
	for _, name := range anyTenant.FindAll(dump, -1) {
		if string(name) != own {
			n++
		}
	}
	return n
}
