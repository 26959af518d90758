package apifuzz

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// Document is a parsed OpenAPI 3.1 document.
type Document struct {
	Operations []Operation

	root    map[string]any
	problem *jsonschema.Schema
}

// Operation is one operation of the document.
type Operation struct {
	ID, Method, Path string
	Parameters       []Parameter
	Body             map[string]any // its JSON Schema; nil: it has none
	Scopes           []string       // a token needs one of them; empty: any token
	// Answers are the documented statuses without the default, by media type, with nil schemas for a
	// type that is not JSON. A status without a body has no media types.
	Answers map[int]map[string]*jsonschema.Schema
}

// Parameter is a parameter in the path, the query or a header.
type Parameter struct {
	Name, In string
	Schema   map[string]any
}

const resource = "openapi.json"

// Parse reads a document.
func Parse(text []byte) (*Document, error) {
	root, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("read the document: %w", err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource(resource, root); err != nil {
		return nil, fmt.Errorf("read the document: %w", err)
	}
	d := &Document{}
	d.root, _ = root.(map[string]any)
	if d.problem, err = compiler.Compile(resource + "#/components/schemas/Problem"); err != nil {
		return nil, fmt.Errorf("read the document: %w", err)
	}
	var doc struct {
		Paths map[string]map[string]operation
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		return nil, fmt.Errorf("read the document: %w", err)
	}
	for path, methods := range doc.Paths {
		for method, o := range methods {
			op, err := o.read(compiler, path, method)
			if err != nil {
				return nil, fmt.Errorf("read the operation %s: %w", o.OperationID, err)
			}
			d.Operations = append(d.Operations, op)
		}
	}
	slices.SortFunc(d.Operations, func(x, y Operation) int { return cmp.Compare(x.ID, y.ID) })
	return d, nil
}

// operation is an operation in the form of the document.
type operation struct {
	OperationID string
	Security    []map[string][]string
	Parameters  []Parameter
	RequestBody struct {
		Content map[string]struct{ Schema map[string]any }
	}
	Responses map[string]struct {
		Content map[string]struct{ Schema map[string]any }
	}
}

func (o operation) read(compiler *jsonschema.Compiler, path, method string) (Operation, error) {
	op := Operation{
		ID: o.OperationID, Method: strings.ToUpper(method), Path: path, Parameters: o.Parameters,
		Body: o.RequestBody.Content["application/json"].Schema, Answers: map[int]map[string]*jsonschema.Schema{},
	}
	for _, scopes := range o.Security {
		op.Scopes = append(op.Scopes, slices.Concat(slices.Collect(maps.Values(scopes))...)...)
	}
	for status, response := range o.Responses {
		var code int
		if _, err := fmt.Sscan(status, &code); err != nil {
			continue // the default, which is a problem
		}
		op.Answers[code] = map[string]*jsonschema.Schema{}
		for media := range response.Content {
			if media != "application/json" {
				op.Answers[code][media] = nil
				continue
			}
			at := fmt.Sprintf("%s#/paths/%s/%s/responses/%s/content/%s/schema", resource, escape(path), method, status, escape(media))
			schema, err := compiler.Compile(at)
			if err != nil {
				return op, err
			}
			op.Answers[code][media] = schema
		}
	}
	return op, nil
}

// escape encodes a name as a part of a JSON pointer in a URL.
func escape(name string) string {
	return strings.NewReplacer("~", "~0", "/", "~1", "{", "%7B", "}", "%7D").Replace(name)
}

// resolve replaces the references of a schema within the document.
func (d *Document) resolve(schema map[string]any) map[string]any {
	for range 10 {
		ref, ok := schema["$ref"].(string)
		if !ok {
			return schema
		}
		var at any = d.root
		for name := range strings.SplitSeq(strings.TrimPrefix(ref, "#/"), "/") {
			within, _ := at.(map[string]any)
			at = within[name]
		}
		if schema, ok = at.(map[string]any); !ok {
			return map[string]any{}
		}
	}
	return map[string]any{}
}
