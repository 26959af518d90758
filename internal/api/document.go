package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/pgcourier/pgcourier/schemas"
)

// components are the schemas of the contract that are copied into the document, by their name there, so
// that a generator of clients needs one file.
var components = map[string]string{
	"BackupRequested": "backup.requested.v1.json", "BackupCompleted": "backup.completed.v1.json", "BackupFailed": "backup.failed.v1.json",
	"BackupStarted": "backup.started.v1.json", "BackupProgress": "backup.progress.v1.json", "BackupVerified": "backup.verified.v1.json",
	"BackupVerificationFailed": "backup.verification_failed.v1.json", "ExportRequest": "backup.requested.v1.json",
	"RestoreRequested": "restore.requested.v1.json", "RestoreCompleted": "restore.completed.v1.json", "RestoreFailed": "restore.failed.v1.json",
	"RestoreRequest": "restore.requested.v1.json",
}

// document returns the OpenAPI document of the registered operations and the contract's schemas.
func document(from *huma.OpenAPI) ([]byte, error) {
	from.Components.Schemas.Schema(reflect.TypeFor[Problem](), true, "Problem")
	b, err := json.Marshal(from)
	if err != nil {
		return nil, fmt.Errorf("make the OpenAPI document: %w", err)
	}
	var doc map[string]any
	if err := json.Unmarshal(b, &doc); err != nil {
		return nil, fmt.Errorf("make the OpenAPI document: %w", err)
	}
	all, ok := at(doc, "components", "schemas")
	if !ok {
		return nil, errors.New("make the OpenAPI document: it has no schemas")
	}
	delete(all, "ErrorModel") // of the library: responses have a Problem
	delete(all, "ErrorDetail")
	for name, schema := range all {
		if answer, ok := schema.(map[string]any); ok && !strings.HasSuffix(name, "InputBody") {
			delete(answer, "additionalProperties") // later versions may add fields
		}
	}
	for name, file := range components {
		if err := copySchema(all, name, file); err != nil {
			return nil, fmt.Errorf("make the OpenAPI document: %s: %w", file, err)
		}
	}
	code, ok := at(all, "Problem", "properties", "code")
	if !ok {
		return nil, errors.New("make the OpenAPI document: a problem has no code")
	}
	code["enum"] = problemCodes() // so that generated clients have names for them
	requests, _ := all["ExportRequest"].(map[string]any)
	requests["description"] = "The body of backup.requested. project_id may be left out: the path names it."
	requests["title"] = "ExportRequest"
	delete(requests, "required")
	restores, _ := all["RestoreRequest"].(map[string]any)
	restores["description"] = "The body of restore.requested. project_id may be left out: the path names it."
	restores["title"], restores["required"] = "RestoreRequest", []string{"from"}
	out, err := json.MarshalIndent(doc, "", "  ")
	return append(out, '\n'), err
}

// at returns the object at a path of names.
func at(doc map[string]any, path ...string) (map[string]any, bool) {
	for _, name := range path {
		next, ok := doc[name].(map[string]any)
		if !ok {
			return nil, false
		}
		doc = next
	}
	return doc, true
}

// copySchema adds a schema of the contract under a name, and its definitions under that name and
// their own.
func copySchema(all map[string]any, name, file string) error {
	b, err := schemas.FS.ReadFile(file)
	if err != nil {
		return err
	}
	var doc map[string]any
	if err := json.Unmarshal(b, &doc); err != nil {
		return err
	}
	definitions, _ := doc["$defs"].(map[string]any)
	for _, key := range []string{"$defs", "$schema", "$id"} {
		delete(doc, key)
	}
	rename := func(ref string) string {
		if own, ok := strings.CutPrefix(ref, "#/$defs/"); ok {
			return "#/components/schemas/" + name + "_" + own
		}
		of, within, _ := strings.Cut(ref, "#")
		for component, file := range components {
			if component == "ExportRequest" || component == "RestoreRequest" || file != of {
				continue
			}
			if own, ok := strings.CutPrefix(within, "/$defs/"); ok {
				return "#/components/schemas/" + component + "_" + own
			}
			return "#/components/schemas/" + component + within
		}
		return ref
	}
	all[name] = point(doc, rename)
	for own, definition := range maps.All(definitions) {
		all[name+"_"+own] = point(definition, rename)
	}
	return nil
}

// point replaces each reference within v by the result of rename.
func point(v any, rename func(string) string) any {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			if ref, ok := value.(string); ok && key == "$ref" {
				v[key] = rename(ref)
				continue
			}
			v[key] = point(value, rename)
		}
	case []any:
		for i := range v {
			v[i] = point(v[i], rename)
		}
	}
	return v
}
