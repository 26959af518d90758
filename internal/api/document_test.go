package api_test

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pgcourier/pgcourier/internal/api"
)

var update = flag.Bool("update", false, "rewrite schemas/openapi.json")

// The document is generated from the registered operations. It is stored beside the other schemas,
// so that clients can be generated without a server.
func TestTheOpenAPIDocumentIsKept(t *testing.T) {
	t.Parallel()
	file := filepath.Join("..", "..", "schemas", "openapi.json")
	got, err := api.Document("v1")
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil || string(got) != string(want) {
		t.Errorf("schemas/openapi.json is not up to date (%v): go test ./internal/api -run TheOpenAPIDocumentIsKept -update", err)
	}
	again, err := api.Document("v1")
	if err != nil || string(again) != string(got) {
		t.Errorf("the document is not the same twice (%v)", err)
	}
}

// Every reference in the document points into the document.
func TestTheOpenAPIDocumentIsWhole(t *testing.T) {
	t.Parallel()
	b, err := api.Document("v1")
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		OpenAPI    string `json:"openapi"`
		Components struct {
			Schemas map[string]any `json:"schemas"`
		} `json:"components"`
		Paths map[string]map[string]any `json:"paths"`
	}
	if err := json.Unmarshal(b, &doc); err != nil || !strings.HasPrefix(doc.OpenAPI, "3.1") {
		t.Fatalf("%q, %v", doc.OpenAPI, err)
	}
	var tree any
	if err := json.Unmarshal(b, &tree); err != nil {
		t.Fatal(err)
	}
	refs := 0
	var walk func(any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			if ref, ok := v["$ref"].(string); ok {
				refs++
				name, of := strings.CutPrefix(ref, "#/components/schemas/")
				name, _, _ = strings.Cut(name, "/")
				if _, known := doc.Components.Schemas[name]; !of || !known {
					t.Errorf("the reference %q has no target", ref)
				}
			}
			for _, value := range v {
				walk(value)
			}
		case []any:
			for _, value := range v {
				walk(value)
			}
		}
	}
	walk(tree)
	if refs < 20 || len(doc.Paths) < 7 {
		t.Errorf("%d references and %d paths only", refs, len(doc.Paths))
	}
	if len(doc.Components.Schemas) == 0 || doc.Components.Schemas["ErrorModel"] != nil {
		t.Error("the document describes the library's errors")
	}
}
