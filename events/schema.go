package events

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/go-json-experiment/json"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"

	"github.com/pgcourier/pgcourier/schemas"
)

// contract holds the schemas of package schemas, compiled.
type contract struct {
	event map[string]*jsonschema.Schema // by event type
	docs  map[string]any                // by $id, for the rules in words
	// The fields of a refused request that are recorded if they are valid.
	requestedBy *jsonschema.Schema
}

// theContract compiles the embedded schemas once. They are part of the program, and
// tests compile them, so a fault in them is a fault of the program.
var theContract = sync.OnceValue(func() *contract {
	c, err := compileContract(schemas.FS)
	if err != nil {
		panic("events: compile embedded schemas: " + err.Error())
	}
	return c
})

func compileContract(files fs.FS) (*contract, error) {
	c := &contract{event: map[string]*jsonschema.Schema{}, docs: map[string]any{}}
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	names, err := fs.Glob(files, "*.v1.json")
	if err != nil {
		return nil, err
	}
	ids := map[string]string{}
	for _, name := range names {
		id, doc, err := readSchema(files, name)
		if err != nil {
			return nil, fmt.Errorf("read schema %s: %w", name, err)
		}
		if err := compiler.AddResource(id, doc); err != nil {
			return nil, fmt.Errorf("add schema %s: %w", name, err)
		}
		c.docs[id] = doc
		ids[strings.TrimSuffix(name, ".v1.json")] = id
	}
	for eventType, id := range ids {
		if c.event[eventType], err = compiler.Compile(id); err != nil {
			return nil, err
		}
	}
	c.requestedBy, err = compiler.Compile(ids[TypeRequested] + "#/$defs/requestedBy")
	return c, err
}

func readSchema(files fs.FS, name string) (id string, doc map[string]any, err error) {
	raw, err := fs.ReadFile(files, name)
	if err != nil {
		return "", nil, err
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		return "", nil, err
	}
	id, ok := doc["$id"].(string)
	if !ok {
		return "", nil, errors.New("no $id")
	}
	return id, doc, nil
}

// dataSchema is the $id of an event's schema.
func (c *contract) dataSchema(eventType string) string {
	return c.event[eventType].Location[:strings.IndexByte(c.event[eventType].Location, '#')]
}

// check holds doc against an event's schema. With tolerant set, fields that the schema
// does not name are no fault.
func (c *contract) check(eventType string, doc any, tolerant bool) error {
	err := c.event[eventType].Validate(doc)
	if err == nil {
		return nil
	}
	failure, ok := errors.AsType[*jsonschema.ValidationError](err)
	if !ok {
		return invalid(bodyField, "cannot be validated")
	}
	faults := c.faults(nil, failure, tolerant)
	if len(faults) == 0 {
		return nil
	}
	// The validator walks maps in random order; a redelivered message must fail with
	// the same words.
	slices.SortFunc(faults, func(a, b *InvalidError) int {
		return cmp.Or(cmp.Compare(a.Field, b.Field), cmp.Compare(a.Reason, b.Reason))
	})
	return faults[0]
}

// faults flattens a validator's error tree.
func (c *contract) faults(out []*InvalidError, e *jsonschema.ValidationError, tolerant bool) []*InvalidError {
	field := fieldName(e.InstanceLocation)
	switch k := e.ErrorKind.(type) {
	case *kind.AdditionalProperties:
		if tolerant {
			return out
		}
		for _, name := range k.Properties {
			out = append(out, invalid(fieldName(append(slices.Clone(e.InstanceLocation), name)), "is not a field of the contract"))
		}
		return out
	case *kind.Required:
		for _, name := range k.Missing {
			out = append(out, invalid(fieldName(append(slices.Clone(e.InstanceLocation), name)), "is missing"))
		}
		return out
	case *kind.Contains: // its causes say of each entry why it is not the one
		return append(out, invalid(field, c.rule(e.SchemaURL)))
	case *kind.PropertyNames:
		// The validator's location of such an error shares memory with its neighbours and
		// names any of them (jsonschema v6.0.3). metadata alone has free names.
		return append(out, invalid("metadata", c.rule(e.SchemaURL)))
	}
	if len(e.Causes) == 0 {
		return append(out, invalid(field, c.reason(e)))
	}
	for _, cause := range e.Causes {
		out = c.faults(out, cause, tolerant)
	}
	return out
}

// reason says in words which rule a value breaks.
func (c *contract) reason(e *jsonschema.ValidationError) string {
	switch k := e.ErrorKind.(type) {
	case *kind.Type:
		return "must be of type " + strings.Join(k.Want, " or ")
	case *kind.Enum:
		words := make([]string, len(k.Want))
		for i, w := range k.Want {
			words[i] = fmt.Sprintf("%q", w)
		}
		return "must be one of " + strings.Join(words, ", ")
	case *kind.MinLength:
		return fmt.Sprintf("must have at least %d characters", k.Want)
	case *kind.MaxLength:
		return fmt.Sprintf("must have at most %d characters", k.Want)
	case *kind.MinItems:
		return fmt.Sprintf("must have at least %d entries", k.Want)
	case *kind.MaxItems:
		return fmt.Sprintf("must have at most %d entries", k.Want)
	case *kind.MaxProperties:
		return fmt.Sprintf("must have at most %d entries", k.Want)
	case *kind.UniqueItems:
		return fmt.Sprintf("holds the same entry twice (%d and %d)", k.Duplicates[0], k.Duplicates[1])
	case *kind.Minimum:
		return "must be at least " + k.Want.RatString()
	case *kind.Maximum:
		return "must be at most " + k.Want.RatString()
	}
	return c.rule(e.SchemaURL)
}

// rule looks up the annotation "x-rule" of the subschema at a location.
func (c *contract) rule(location string) string {
	const unnamed = "breaks the contract"
	id, pointer, _ := strings.Cut(location, "#")
	at := c.docs[id]
	rule := unnamed
	for token := range strings.SplitSeq(strings.TrimPrefix(pointer, "/"), "/") {
		if plain, err := url.PathUnescape(token); err == nil {
			token = plain
		}
		switch v := at.(type) {
		case map[string]any:
			at = v[strings.NewReplacer("~1", "/", "~0", "~").Replace(token)]
		case []any:
			i, err := strconv.Atoi(token)
			if err != nil || i < 0 || i >= len(v) {
				return rule
			}
			at = v[i]
		}
		// The nearest rule above holds for subschemas without their own.
		if m, ok := at.(map[string]any); ok {
			if text, ok := m["x-rule"].(string); ok {
				rule = text
			}
		}
	}
	return rule
}

// fieldName writes a location as "metadata.key" or "schemas[2]".
func fieldName(location []string) string {
	var b strings.Builder
	for i, token := range location {
		_, err := strconv.ParseUint(token, 10, 32)
		switch {
		case err == nil && i > 0:
			b.WriteString("[" + token + "]")
		case i > 0:
			b.WriteString("." + safeName(token))
		default:
			b.WriteString(safeName(token))
		}
	}
	if b.Len() == 0 {
		return bodyField
	}
	return b.String()
}
