package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"testing"
)

// A new fail point is among the faults.
func TestEachFailPointIsAFault(t *testing.T) {
	t.Parallel()
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join("..", "..", "failpoint", "failpoint.go"), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, p := range failPoints() {
		known[`"`+string(p)+`"`] = true
	}
	found := 0
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if name, ok := spec.Type.(*ast.Ident); !ok || name.Name != "Name" {
			return true
		}
		for _, v := range spec.Values {
			text := v.(*ast.BasicLit).Value
			if found++; !known[text] {
				t.Errorf("no fault strikes at the fail point %s", text)
			}
		}
		return true
	})
	if found != len(known) {
		t.Errorf("%d fail points are declared, the faults know %d", found, len(known))
	}
}
