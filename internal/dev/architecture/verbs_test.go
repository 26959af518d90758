package architecture_test

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What two verbs share belongs to a package: a verb's file parses flags, calls one function and
// prints. Only root.go and exit.go serve all of them.
func TestVerbsDoNotReferToEachOther(t *testing.T) {
	t.Parallel()
	const longest, most = 200, 4000 // lines
	fset := token.NewFileSet()
	files := map[string]*ast.File{}
	total := 0
	all, err := filepath.Glob(filepath.Join(root, "cmd", "pgcourier", "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range all {
		name := filepath.Base(path)
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		n := bytes.Count(text, []byte("\n"))
		if total += n; n > longest {
			t.Errorf("%s has %d lines, at most %d are for parsing, a call and printing", name, n, longest)
		}
		if files[name], err = parser.ParseFile(fset, name, text, 0); err != nil {
			t.Fatal(err)
		}
	}
	if total == 0 || total > most {
		t.Errorf("cmd/pgcourier has %d lines, at most %d", total, most)
	}
	names, methods := declared(files)
	for name, f := range files {
		if name == "root.go" {
			continue // it adds every verb
		}
		check := func(what, of string) {
			if of != "" && of != name && of != "root.go" && of != "exit.go" {
				t.Errorf("%s refers to %s of %s", name, what, of)
			}
		}
		var look func(ast.Node) bool
		look = func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && x.Name == "a" { // the app
					check(n.Sel.Name, methods[n.Sel.Name])
				}
				ast.Inspect(n.X, look) // and not the selected name, which is another's
				return false
			case *ast.Ident:
				if n.Obj == nil { // not declared in this file
					check(n.Name, names[n.Name])
				}
			}
			return true
		}
		for _, d := range f.Decls {
			ast.Inspect(d, look)
		}
	}
}

// declared maps the names of a package and the methods of the app to their files.
func declared(files map[string]*ast.File) (names, methods map[string]string) {
	names, methods = map[string]string{}, map[string]string{}
	for name, f := range files {
		for _, d := range f.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				switch {
				case d.Recv == nil:
					names[d.Name.Name] = name
				case len(d.Recv.List[0].Names) == 1 && d.Recv.List[0].Names[0].Name == "a":
					methods[d.Name.Name] = name
				}
			case *ast.GenDecl:
				for _, s := range d.Specs {
					switch s := s.(type) {
					case *ast.TypeSpec:
						names[s.Name.Name] = name
					case *ast.ValueSpec:
						for _, n := range s.Names {
							if n.Name != "_" {
								names[n.Name] = name
							}
						}
					}
				}
			}
		}
	}
	return names, methods
}
