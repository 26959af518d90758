package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// event is one line of `go test -json` (go doc test2json, go help buildjson).
type event struct {
	Action     string
	Package    string
	ImportPath string // of build output
	Test       string
	Output     string
}

// read parses the output of one run of go test and returns the output of each failure, by
// "package.Test". It does not list a test beside its failed subtests. A test that did not end
// counts as a failure, and so does a failed package without a failed test.
func read(r io.Reader) (map[string][]byte, error) {
	packages := make(map[string]*outcome)
	lines := json.NewDecoder(r)
	for {
		var e event
		if err := lines.Decode(&e); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("read the events of go test: %w", err)
		}
		name := e.Package
		if name == "" {
			name, _, _ = strings.Cut(e.ImportPath, " ") // "p [p.test]" is built for a test
		}
		if packages[name] == nil {
			packages[name] = &outcome{tests: make(map[string]*test)}
		}
		packages[name].take(e)
	}
	failed := make(map[string][]byte)
	for name, p := range packages {
		p.failures(name, failed)
	}
	return failed, nil
}

type outcome struct {
	failed bool
	output []byte
	tests  map[string]*test // that run or failed
}

type test struct {
	failed bool
	output []byte
}

func (p *outcome) take(e event) {
	if e.Test == "" {
		p.output = append(p.output, e.Output...)
		p.failed = p.failed || e.Action == "fail"
		return
	}
	t := p.tests[e.Test]
	if t == nil {
		t = &test{}
		p.tests[e.Test] = t
	}
	t.output = append(t.output, e.Output...)
	switch e.Action {
	case "fail":
		t.failed = true
	case "pass", "skip":
		delete(p.tests, e.Test)
	}
}

func (p *outcome) failures(name string, failed map[string][]byte) {
	if !p.failed {
		return
	}
	found := false
	for test, t := range p.tests {
		if p.parent(test) {
			continue
		}
		found = true
		output := t.output
		if !t.failed {
			output = append(output, "\nit did not end; the package's output:\n"...)
			output = append(output, p.output...)
		}
		failed[name+"."+test] = output
	}
	if !found {
		failed[name] = p.output
	}
}

// parent reports whether a subtest of a test failed or did not end.
func (p *outcome) parent(test string) bool {
	for other := range p.tests {
		if strings.HasPrefix(other, test+"/") {
			return true
		}
	}
	return false
}
