package events

import (
	"encoding/base64"
	"errors"
	"fmt"
	"mime"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

const (
	headerContentEncoding = "content-encoding"
	cePrefix              = "ce-"
	mediaCloudEvents      = "application/cloudevents+json"
)

// open finds the data of a request of a type in a message. On an error doc is what could be parsed
// nevertheless, perhaps nil.
func open(m Message, eventType string) (data []byte, doc map[string]any, trace Trace, err error) {
	header, headerErr := foldHeader(m.Header)
	media := ""
	if headerErr == nil {
		media, headerErr = checkContent(header)
	}
	attrs := binaryAttributes(header)
	if headerErr == nil {
		headerErr = checkAttributes(attrs, cePrefix, eventType)
	}
	trace = traceOf(header, attrs)

	doc, err = parseStrict(m.Body, MaxRequestBytes)
	data = m.Body
	if err == nil {
		_, named := doc["specversion"]
		if named || media == mediaCloudEvents {
			outer := doc
			data, doc, err = openStructured(m.Body, outer, eventType)
			if inner, e := structuredAttributes(outer); e == nil && trace.Parent == "" {
				trace = traceOf(header, inner)
			}
		}
	}
	if headerErr != nil {
		err = headerErr
	}
	return data, doc, trace, err
}

// foldHeader returns the headers that concern the contract under lower-case names.
func foldHeader(h map[string]string) (map[string]string, error) {
	out := make(map[string]string, len(h))
	var twice []string
	for name, value := range h {
		// Some libraries trim names, so that a blank must not hide a header from this one.
		folded := strings.ToLower(strings.TrimSpace(name))
		switch {
		case strings.HasPrefix(folded, cePrefix), folded == HeaderContentType, folded == headerContentEncoding,
			folded == HeaderTraceparent, folded == HeaderTracestate:
			if _, there := out[folded]; there {
				twice = append(twice, folded)
			}
			out[folded] = value
		}
	}
	if len(twice) > 0 {
		// The order of a map is random; the error's text must not be.
		slices.Sort(twice)
		return out, invalid(safeName(twice[0]), "is there twice")
	}
	return out, nil
}

// checkContent refuses bodies that are not plain JSON, and returns the media type.
func checkContent(header map[string]string) (string, error) {
	if enc, ok := header[headerContentEncoding]; ok && !strings.EqualFold(enc, "identity") {
		return "", invalid(headerContentEncoding, "must be absent or identity")
	}
	value, ok := header[HeaderContentType]
	if !ok {
		return "", nil
	}
	return checkMedia(HeaderContentType, value)
}

func checkMedia(field, value string) (string, error) {
	media, params, err := mime.ParseMediaType(value)
	if err != nil || (media != mediaJSON && media != mediaCloudEvents) {
		return "", invalid(field, "must be "+mediaJSON+" or "+mediaCloudEvents)
	}
	if charset, ok := params["charset"]; ok && !strings.EqualFold(charset, "utf-8") {
		return "", invalid(field, "must name no other charset than utf-8")
	}
	return media, nil
}

// binaryAttributes returns the CloudEvents attributes among the headers.
func binaryAttributes(header map[string]string) map[string]string {
	attrs := map[string]string{}
	for name, value := range header {
		if attr, ok := strings.CutPrefix(name, cePrefix); ok {
			attrs[attr] = value
		}
	}
	return attrs
}

// checkAttributes checks CloudEvents attributes against the contract. An absent attribute is
// no fault, because a bare body has none; a present one must be valid. prefix is put before
// an attribute's name in errors.
func checkAttributes(attrs map[string]string, prefix, eventType string) error {
	if v, ok := attrs["specversion"]; ok && v != specVersion {
		return invalid(prefix+"specversion", "must be "+specVersion)
	}
	if v, ok := attrs["type"]; ok && v != eventType {
		return invalid(prefix+"type", "must be "+eventType)
	}
	for _, name := range []string{"id", "source"} {
		if v, ok := attrs[name]; ok && v == "" {
			return invalid(prefix+name, "must not be empty")
		}
	}
	if v, ok := attrs["time"]; ok {
		if !strictTime(v) {
			return invalid(prefix+"time", "must be an RFC 3339 time")
		}
	}
	if v, ok := attrs["datacontenttype"]; ok {
		if media, err := checkMedia(prefix+"datacontenttype", v); err != nil || media != mediaJSON {
			return invalid(prefix+"datacontenttype", "must be "+mediaJSON)
		}
	}
	// A publisher may keep a copy of the schema elsewhere, but another version of it
	// says that the body is not meant as v1.
	if v, ok := attrs["dataschema"]; ok {
		file := v[strings.LastIndexByte(v, '/')+1:]
		ours := strings.HasPrefix(file, "backup.") || strings.HasPrefix(file, "restore.")
		if ours && file != eventType+".v1.json" {
			return invalid(prefix+"dataschema", "names another schema than "+eventType+".v1.json")
		}
	}
	return nil
}

// strictTime reports whether v is an RFC 3339 time. The parser of encoding/json's second
// version says so; time.Parse also takes a comma for the dot, and hours of one digit.
func strictTime(v string) bool {
	quoted, err := json.Marshal(v)
	return err == nil && json.Unmarshal(quoted, new(time.Time)) == nil
}

// attributeName is CloudEvents' alphabet for attribute names.
var attributeName = regexp.MustCompile(`^[a-z0-9]+$`)

// structuredAttributes returns the attributes of a structured event; null means absent.
func structuredAttributes(doc map[string]any) (map[string]string, error) {
	attrs := map[string]string{}
	names := make([]string, 0, len(doc))
	for name := range doc {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if name == "data" || name == "data_base64" || doc[name] == nil {
			continue
		}
		if !attributeName.MatchString(name) {
			return nil, invalid(safeName(name), "is not a CloudEvents attribute")
		}
		switch v := doc[name].(type) {
		case string:
			attrs[name] = v
		case bool, float64:
			attrs[name] = fmt.Sprint(v)
		default:
			return nil, invalid(safeName(name), "must be a string, a boolean or an integer")
		}
	}
	return attrs, nil
}

// openStructured takes the data out of a structured event. On an error the returned doc
// is the data as far as it could be parsed, perhaps nil.
func openStructured(body []byte, outer map[string]any, eventType string) (data []byte, doc map[string]any, err error) {
	data, err = structuredData(body, outer)
	if err == nil {
		doc, err = parseStrict(data, MaxRequestBytes)
		if inv, ok := errors.AsType[*InvalidError](err); ok {
			err = invalid("data", inv.Reason)
		}
	}
	attrs, attrErr := structuredAttributes(outer)
	if attrErr != nil {
		return data, doc, attrErr
	}
	for _, name := range []string{"specversion", "type"} {
		if _, ok := attrs[name]; !ok {
			return data, doc, invalid(name, "is missing")
		}
	}
	if attrErr := checkAttributes(attrs, "", eventType); attrErr != nil {
		return data, doc, attrErr
	}
	return data, doc, err
}

// structuredData returns the bytes of data, or of data_base64, which SDKs write for data
// that was handed to them as bytes.
func structuredData(body []byte, outer map[string]any) ([]byte, error) {
	var e struct {
		Data   jsontext.Value `json:"data"`
		Base64 *string        `json:"data_base64"`
	}
	if err := json.Unmarshal(body, &e); err != nil {
		return nil, invalid("data_base64", "must be of type string")
	}
	_, plain := outer["data"]
	switch {
	case plain && e.Base64 != nil:
		return nil, invalid("data", "stands beside data_base64")
	case e.Base64 != nil:
		data, err := base64.StdEncoding.Strict().DecodeString(*e.Base64)
		if err != nil {
			return nil, invalid("data_base64", "is not valid base64")
		}
		return data, nil
	case !plain:
		return nil, invalid("data", "is missing")
	}
	return e.Data, nil
}

// traceOf prefers the headers of W3C Trace Context to the attributes of CloudEvents'
// distributed tracing extension.
func traceOf(header, attrs map[string]string) Trace {
	for _, from := range []map[string]string{header, attrs} {
		if t := (Trace{Parent: from[HeaderTraceparent], State: from[HeaderTracestate]}).wellFormed(); t.Parent != "" {
			return t
		}
	}
	return Trace{}
}
