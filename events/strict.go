package events

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

const (
	// MaxRequestBytes is the most a request's body may hold: 64 KiB.
	MaxRequestBytes = 64 << 10
	// MaxEventBytes is the most the body of any other event may hold: 1 MiB, which is
	// also the default max_payload of nats-server.
	MaxEventBytes = 1 << 20
	// maxDepth bounds the nesting of a body. The deepest value of the contract is a
	// structured request's metadata, three levels down; the rest is room for v1 to grow.
	maxDepth = 16
)

const bodyField = "body"

// parseStrict reads one JSON object. It refuses what lenient parsers accept and programs then read
// differently: duplicate names, invalid UTF-8, lone surrogates, a byte order mark, anything after
// the object, deep nesting.
func parseStrict(body []byte, limit int) (map[string]any, error) {
	switch {
	case len(body) > limit:
		return nil, invalid(bodyField, fmt.Sprintf("is larger than %d bytes", limit))
	case len(bytes.TrimSpace(body)) == 0:
		return nil, invalid(bodyField, "is empty")
	case bytes.HasPrefix(body, []byte("\xef\xbb\xbf")):
		return nil, invalid(bodyField, "begins with a byte order mark")
	}
	if err := scan(body); err != nil {
		return nil, err
	}
	var v any
	if err := json.Unmarshal(body, &v); err != nil {
		return nil, syntaxError(err)
	}
	object, ok := v.(map[string]any)
	if !ok {
		return nil, invalid(bodyField, "is not a JSON object")
	}
	return object, nil
}

// scan checks depth and syntax before anything recurses into the body.
func scan(body []byte) error {
	dec := jsontext.NewDecoder(bytes.NewReader(body))
	for {
		_, err := dec.ReadToken()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return syntaxError(err)
		}
		if dec.StackDepth() > maxDepth {
			return invalid(bodyField, fmt.Sprintf("is nested deeper than %d levels", maxDepth))
		}
	}
}

// syntaxError words a parser's error without the input that the parser quotes.
func syntaxError(err error) *InvalidError {
	if errors.Is(err, jsontext.ErrDuplicateName) {
		return invalid(bodyField, "holds a name twice in one object")
	}
	if syn, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		return invalid(bodyField, fmt.Sprintf("is not valid JSON at byte %d", syn.ByteOffset))
	}
	return invalid(bodyField, "is not valid JSON")
}
