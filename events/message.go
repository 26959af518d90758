package events

import (
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
)

// The headers of a message, in the spelling in which this package writes them. Reading
// ignores case.
const (
	HeaderSpecVersion = "ce-specversion"
	HeaderType        = "ce-type"
	HeaderSource      = "ce-source"
	HeaderID          = "ce-id"
	HeaderTime        = "ce-time"
	HeaderSubject     = "ce-subject"
	HeaderDataSchema  = "ce-dataschema"
	HeaderContentType = "content-type"
	HeaderTraceparent = "traceparent"
	HeaderTracestate  = "tracestate"
)

const (
	specVersion = "1.0"
	mediaJSON   = "application/json"
)

// Message is an event as it travels: what to publish, or what came.
type Message struct {
	// Subject is the NATS subject. When a request is decoded it may be empty: not known.
	Subject string
	// Header holds each header once. A header that came several times is to be given
	// under two spellings, whatever its values: letter case has no meaning, so Decode
	// refuses it if the contract knows the header.
	Header map[string]string
	// Body is the event as JSON.
	Body []byte
}

// Trace is W3C Trace Context, carried from a request to its events. It is no part of an
// event's body. A malformed one is dropped, as the recommendation asks.
type Trace struct {
	Parent string // traceparent
	State  string // tracestate; only beside a Parent
}

var (
	traceparentForm = regexp.MustCompile(`^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$`)
	// 512 characters of tracestate are what the recommendation asks to propagate at least.
	tracestateForm = regexp.MustCompile(`^[\x20-\x7e]{1,512}$`)
)

// wellFormed returns t without what is malformed.
func (t Trace) wellFormed() Trace {
	if !traceparentForm.MatchString(t.Parent) {
		return Trace{}
	}
	if !tracestateForm.MatchString(t.State) {
		t.State = ""
	}
	return t
}

// envelope is what a Message says of its event besides the body.
type envelope struct {
	eventType string
	natsSubj  string
	project   string
	request   string
	idSuffix  string    // tells apart several events of one type of one request
	at        time.Time // zero: the event has no time of its own
	trace     Trace
}

// encode writes an event that is sure to keep the contract.
func encode(event any, e envelope, source string) (Message, error) {
	if err := checkSource(source); err != nil {
		return Message{}, err
	}
	body, err := marshal(event)
	if err != nil {
		return Message{}, err
	}
	limit := MaxEventBytes
	if e.eventType == TypeRequested || e.eventType == TypeRestoreRequested {
		limit = MaxRequestBytes
	}
	doc, err := parseStrict(body, limit)
	if err != nil {
		return Message{}, err
	}
	if err := theContract().check(e.eventType, doc, false); err != nil {
		return Message{}, err
	}
	header := map[string]string{
		HeaderSpecVersion: specVersion,
		HeaderType:        e.eventType,
		HeaderSource:      source,
		HeaderID:          EventSubject(e.eventType, e.project, e.request) + e.idSuffix,
		HeaderSubject:     e.project + "/" + e.request,
		HeaderDataSchema:  theContract().dataSchema(e.eventType),
		HeaderContentType: mediaJSON,
	}
	if !e.at.IsZero() {
		header[HeaderTime] = e.at.UTC().Format(time.RFC3339Nano)
	}
	if t := e.trace.wellFormed(); t.Parent != "" {
		header[HeaderTraceparent] = t.Parent
		if t.State != "" {
			header[HeaderTracestate] = t.State
		}
	}
	return Message{Subject: e.natsSubj, Header: header, Body: body}, nil
}

// marshal writes v deterministically. Invalid UTF-8 in a string is the only fault that
// the types of this package leave possible.
func marshal(v any) ([]byte, error) {
	body, err := json.Marshal(v, json.Deterministic(true))
	if err != nil {
		return nil, invalid(bodyField, "holds text that is not valid UTF-8, or a time outside the years 0 to 9999")
	}
	return body, nil
}

// checkSource holds ce-source to a URI reference of printable ASCII.
func checkSource(source string) error {
	const maxSource = 255
	if source == "" || len(source) > maxSource || strings.ContainsFunc(source, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return invalid(HeaderSource, "must be a URI reference of 1 to 255 printable ASCII characters")
	}
	if _, err := url.Parse(source); err != nil {
		return invalid(HeaderSource, "is not a URI reference")
	}
	return nil
}
