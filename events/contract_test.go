package events_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"path"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/schemas"
)

const linkID = "lnk_mzxw6ytboi3gk4tbnzsw63lqoq"

const ageKey = "age1qyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqs3290gq"

// each event of the contract: its type, a value with every field set, and how to encode it.
type contractEvent struct {
	eventType string
	full      any
	encode    func(any) (events.Message, error)
	fresh     func() any
}

func contractEvents() []contractEvent {
	at := time.Date(2026, 3, 14, 9, 26, 54, 123456000, time.UTC)
	trace := events.Trace{Parent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", State: "a=b"}
	meta := map[string]string{"ticket": "OPS-1", "note": "a\x1b[31m\nb"}
	request := events.Requested{
		ProjectID: "acme", RequestID: "r1", Schemas: []string{`Ten*ant "x"`, "acme"}, Format: events.FormatDirectory, Jobs: 2,
		Compression: events.CompressionZstd, CompressionLevel: events.CompressionFast, StoragePath: "nightly/2026", NotifyEmail: "ops@example.com",
		RequestedBy: "gateway", Metadata: meta, ReplayOf: "r0", Generation: 1, Recipients: []string{ageKey},
		Deliver: &events.Deliver{TTL: "48h", MaxDownloads: 3, After: events.AfterVerified},
	}
	withCompress := request
	withCompress.Compress, withCompress.Trace = new(true), trace
	restored := events.RestoreRequested{
		ProjectID: "acme", RestoreID: "r1", From: events.RestoreFrom{ProjectID: "b", RequestID: events.LatestExport}, Mode: events.RestoreReplace,
		Schemas: []string{"acme", "b.c"}, Tables: []string{`"b.c"."a""b"`, "acme.t"}, Plan: true, RequestedBy: "gateway", Metadata: meta,
	}
	restore := restored
	restore.Trace = trace
	export := events.RestoredExport{ProjectID: "b", RequestID: "r0"}
	const fingerprint = "SHA256:n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg"
	const sum = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	return []contractEvent{
		{events.TypeRequested, withCompress,
			func(v any) (events.Message, error) { return v.(events.Requested).Encode("test") },
			func() any { return new(events.Requested) }},
		{events.TypeStarted, events.Started{
			RequestID: "r1", ProjectID: "acme", Attempt: 2, Format: events.FormatSQL, Compression: events.CompressionGzip, CompressionLevel: events.CompressionDefault,
			Schemas: []string{"acme"}, EstimatedBytes: 5, ServerVersion: "15.18", PgDumpVersion: "17.2",
			Warnings: []string{"w"}, StartedAt: at, Trace: trace},
			func(v any) (events.Message, error) { return v.(events.Started).Encode("test") },
			func() any { return new(events.Started) }},
		{events.TypeProgress, events.Progress{
			RequestID: "r1", ProjectID: "acme", Attempt: 2, SizeBytes: 7, StoredBytes: 3, EstimatedBytes: 5,
			Table: "acme.t", At: at, Trace: trace},
			func(v any) (events.Message, error) { return v.(events.Progress).Encode("test") },
			func() any { return new(events.Progress) }},
		{events.TypeCompleted, events.Completed{
			RequestID: "r1", ProjectID: "acme", Attempt: 2, Format: events.FormatCustom, Compression: events.CompressionGzip,
			CompressionLevel: events.CompressionBest, Encryption: events.EncryptionAge, Schemas: []string{"acme"}, SizeBytes: 9, StoredBytes: 4, SHA256: sum,
			Storage: []events.Location{
				{Destination: "s3", Status: events.LocationStored, URI: "s3://b/k"},
				{Destination: "s3-2", Status: events.LocationFailed, Code: codes.StorageRefused, Message: "m"},
			}, Tables: 1, Rows: 2, ServerVersion: "15.18", PgDumpVersion: "17.2",
			Warnings: []string{"w"}, Recipients: []string{fingerprint},
			Receipt:   &events.Receipt{SHA256: sum, KeyID: fingerprint, Copies: []events.StoredCopy{{Destination: "s3", URI: "s3://b/k.receipt.json"}}},
			StartedAt: at, FinishedAt: at.Add(time.Second), DurationMS: 1000,
			RequestedBy: "gateway", Metadata: meta, Request: &request, Trace: trace},
			func(v any) (events.Message, error) { return v.(events.Completed).Encode("test") },
			func() any { return new(events.Completed) }},
		{events.TypeFailed, events.Failed{
			RequestID: "r1", ProjectID: "acme", Attempts: 3, Code: codes.DumpTimeout, Permanent: true,
			Message: "m", Request: &request, StartedAt: at, FinishedAt: at.Add(time.Second), DurationMS: 1000,
			RequestedBy: "gateway", Metadata: meta, Trace: trace},
			func(v any) (events.Message, error) { return v.(events.Failed).Encode("test") },
			func() any { return new(events.Failed) }},
		{events.TypeVerified, events.Verified{
			RequestID: "r1", ProjectID: "acme", Attempt: 2, Copies: []events.VerifiedCopy{{Destination: "s3", URI: "s3://b/k"}},
			SHA256: sum, StoredBytes: 4, DumpSHA256: sum, SizeBytes: 9, Tables: 1, Rows: 2, ServerVersion: "15.18",
			CheckMS: 100, RestoreMS: 800, Unchecked: 2, StartedAt: at, FinishedAt: at.Add(time.Second), DurationMS: 1000, Trace: trace,
			Receipt: &events.Receipt{SHA256: sum, KeyID: fingerprint, Copies: []events.StoredCopy{{Destination: "s3", URI: "s3://b/k.receipt-verified.json"}}}},
			func(v any) (events.Message, error) { return v.(events.Verified).Encode("test") },
			func() any { return new(events.Verified) }},
		{events.TypeVerificationFailed, events.VerificationFailed{
			RequestID: "r1", ProjectID: "acme", Attempt: 2, Destination: "s3", Code: codes.ExportDamaged, Message: "m",
			SHA256: sum, StartedAt: at, FinishedAt: at.Add(time.Second), DurationMS: 1000, Trace: trace},
			func(v any) (events.Message, error) { return v.(events.VerificationFailed).Encode("test") },
			func() any { return new(events.VerificationFailed) }},
		{events.TypeExpiring, events.Expiring{
			RequestID: "r1", ProjectID: "acme", Reason: "m", WarnedAt: at, ExpiresAt: at.Add(time.Hour), CompletedAt: at.Add(-time.Hour), StoredBytes: 4, Trace: trace,
			Copies: []events.StoredCopy{{Destination: "s3", URI: "s3://b/k"}}},
			func(v any) (events.Message, error) { return v.(events.Expiring).Encode("test") },
			func() any { return new(events.Expiring) }},
		{events.TypeExpired, events.Expired{
			RequestID: "r1", ProjectID: "acme", Reason: "m", CompletedAt: at.Add(-time.Hour), ExpiredAt: at.Add(time.Second), StoredBytes: 4, Trace: trace,
			Copies: []events.ExpiredCopy{{Destination: "s3", Result: "deleted"}}},
			func(v any) (events.Message, error) { return v.(events.Expired).Encode("test") },
			func() any { return new(events.Expired) }},
		{events.TypeLinkIssued, events.LinkIssued{
			RequestID: "r1", ProjectID: "acme", LinkID: linkID, Attempt: 2, KeyID: "9f86d081884c7d65", MaxDownloads: 3,
			NotifyEmail: "ops@example.com", IssuedBy: "gateway", IssuedAt: at, ExpiresAt: at.Add(time.Hour), Trace: trace},
			func(v any) (events.Message, error) { return v.(events.LinkIssued).Encode("test") },
			func() any { return new(events.LinkIssued) }},
		{events.TypeDownloaded, events.Downloaded{
			RequestID: "r1", ProjectID: "acme", LinkID: linkID, DownloadID: "d1", DownloadedBy: "portal", Address: "2001:db8::1",
			UserAgent: "curl/8", Redirected: true, Bytes: 4, Whole: true, StartedAt: at, FinishedAt: at.Add(time.Second), Trace: trace},
			func(v any) (events.Message, error) { return v.(events.Downloaded).Encode("test") },
			func() any { return new(events.Downloaded) }},
		{events.TypeLinkRevoked, events.LinkRevoked{
			RequestID: "r1", ProjectID: "acme", LinkID: linkID, Downloads: 1, RevokedBy: "ann", RevokedAt: at, Trace: trace},
			func(v any) (events.Message, error) { return v.(events.LinkRevoked).Encode("test") },
			func() any { return new(events.LinkRevoked) }},
		{events.TypeLinkExpired, events.LinkExpired{
			RequestID: "r1", ProjectID: "acme", LinkID: linkID, Downloads: 1, ExpiredAt: at.Add(time.Second), Trace: trace},
			func(v any) (events.Message, error) { return v.(events.LinkExpired).Encode("test") },
			func() any { return new(events.LinkExpired) }},
		{events.TypeRestoreRequested, restore,
			func(v any) (events.Message, error) { return v.(events.RestoreRequested).Encode("test") },
			func() any { return new(events.RestoreRequested) }},
		{events.TypeRestoreStarted, events.RestoreStarted{
			RestoreID: "r1", ProjectID: "acme", Attempt: 2, From: export, Mode: events.RestoreReplace, Plan: true, StoredBytes: 4, StartedAt: at, Trace: trace},
			func(v any) (events.Message, error) { return v.(events.RestoreStarted).Encode("test") },
			func() any { return new(events.RestoreStarted) }},
		{events.TypeRestoreProgress, events.RestoreProgress{
			RestoreID: "r1", ProjectID: "acme", Attempt: 2, Stage: "checking", ReadBytes: 3, StoredBytes: 4, At: at, Trace: trace},
			func(v any) (events.Message, error) { return v.(events.RestoreProgress).Encode("test") },
			func() any { return new(events.RestoreProgress) }},
		{events.TypeRestoreCompleted, events.RestoreCompleted{
			RestoreID: "r1", ProjectID: "acme", Attempt: 2, From: export, Mode: events.RestoreReplace, Plan: true, Schemas: []string{"acme"},
			Tables: 1, Rows: 2, SHA256: sum, ServerVersion: "15.18", Kept: []events.KeptSchema{{Schema: "acme_before", Until: at.Add(time.Hour)}},
			Remarks: []string{"w"}, StartedAt: at, FinishedAt: at.Add(time.Second), DurationMS: 1000,
			RequestedBy: "gateway", Metadata: meta, Request: &restored, Trace: trace},
			func(v any) (events.Message, error) { return v.(events.RestoreCompleted).Encode("test") },
			func() any { return new(events.RestoreCompleted) }},
		{events.TypeRestoreFailed, events.RestoreFailed{
			RestoreID: "r1", ProjectID: "acme", Attempts: 3, Code: codes.TargetOccupied, Permanent: true,
			Message: "m", Request: &restored, StartedAt: at, FinishedAt: at.Add(time.Second), DurationMS: 1000,
			RequestedBy: "gateway", Metadata: meta, Trace: trace},
			func(v any) (events.Message, error) { return v.(events.RestoreFailed).Encode("test") },
			func() any { return new(events.RestoreFailed) }},
	}
}

// contractMessages are the events, and the messages that are not events.
func contractMessages() []contractEvent {
	return append(contractEvents(), []contractEvent{
		{events.TypeCancel, events.Cancel{RequestID: "r1", ProjectID: "acme", RequestedBy: "ann"},
			func(v any) (events.Message, error) { return v.(events.Cancel).Encode() },
			func() any { return new(events.Cancel) }},
		{events.TypeCancelReply, events.CancelReply{
			RequestID: "r1", ProjectID: "acme", Result: events.CancelTooLate, Outcome: events.TypeFailed,
			Code: codes.DumpTimeout, Message: "m"},
			func(v any) (events.Message, error) { return v.(events.CancelReply).Encode() },
			func() any { return new(events.CancelReply) }},
		{events.TypeRestoreCancel, events.RestoreCancel{RestoreID: "r1", ProjectID: "acme", RequestedBy: "ann"},
			func(v any) (events.Message, error) { return v.(events.RestoreCancel).Encode() },
			func() any { return new(events.RestoreCancel) }},
		{events.TypeRestoreCancelReply, events.RestoreCancelReply{
			RestoreID: "r1", ProjectID: "acme", Result: events.CancelTooLate, Outcome: events.TypeRestoreFailed,
			Code: codes.TargetOccupied, Message: "m"},
			func(v any) (events.Message, error) { return v.(events.RestoreCancelReply).Encode() },
			func() any { return new(events.RestoreCancelReply) }},
		{events.TypeExportCall, events.ExportCall{RequestID: "r1", ProjectID: "acme"},
			func(v any) (events.Message, error) { return v.(events.ExportCall).Encode() },
			func() any { return new(events.ExportCall) }},
		{events.TypeListCall, events.ListCall{
			State: []string{"failed"}, Since: time.Date(2026, 11, 4, 10, 0, 0, 0, time.UTC), Limit: 5, Cursor: "c"},
			func(v any) (events.Message, error) { return v.(events.ListCall).Encode() },
			func() any { return new(events.ListCall) }},
	}...)
}

// validators compiles the schema files as an outside program would.
func validators(t testing.TB) map[string]*jsonschema.Schema {
	t.Helper()
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	files, err := fs.Glob(schemas.FS, "*.v1.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("list schemas: %v, %v", files, err)
	}
	ids := map[string]string{}
	for _, file := range files {
		doc := readJSON(t, file).(map[string]any)
		ids[strings.TrimSuffix(file, ".v1.json")] = doc["$id"].(string)
		if err := compiler.AddResource(doc["$id"].(string), doc); err != nil {
			t.Fatal(err)
		}
	}
	out := map[string]*jsonschema.Schema{}
	for eventType, id := range ids {
		if !strings.HasSuffix(id, "/"+eventType+".v1.json") {
			t.Errorf("$id %q does not end in the file's name %q", id, eventType)
		}
		if out[eventType], err = compiler.Compile(id); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func readJSON(t testing.TB, name string) any {
	t.Helper()
	raw, err := fs.ReadFile(schemas.FS, name)
	if err != nil {
		t.Fatal(err)
	}
	return parseJSON(t, raw)
}

func parseJSON(t testing.TB, raw []byte) any {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		t.Fatalf("parse %.200s: %v", raw, err)
	}
	return v
}

// The other tests would miss a type without a schema, or a schema without a type.
func TestEveryTypeHasASchemaAndEverySchemaAType(t *testing.T) {
	t.Parallel()
	var types []string
	for _, e := range contractMessages() {
		types = append(types, e.eventType)
	}
	slices.Sort(types)
	if got := slices.Sorted(maps.Keys(validators(t))); !slices.Equal(got, types) {
		t.Errorf("schemas are of %v, types of %v", got, types)
	}
}

func TestFieldsAgreeWithSchemas(t *testing.T) {
	t.Parallel()
	for _, e := range contractMessages() {
		t.Run(e.eventType, func(t *testing.T) {
			t.Parallel()
			doc := readJSON(t, e.eventType+".v1.json").(map[string]any)
			compareFields(t, reflect.TypeOf(e.full), doc)
		})
	}
}

func compareFields(t *testing.T, typ reflect.Type, schema map[string]any) {
	t.Helper()
	if schema["additionalProperties"] != false {
		t.Errorf("%s: the schema accepts unknown fields", typ)
	}
	properties := schema["properties"].(map[string]any)
	var required []string
	names, _ := schema["required"].([]any)
	for _, name := range names {
		required = append(required, name.(string))
	}
	seen := map[string]bool{}
	for field := range typ.Fields() {
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		if name == "-" {
			continue
		}
		seen[name] = true
		property, ok := properties[name].(map[string]any)
		if !ok {
			t.Errorf("%s.%s: the schema has no property %q", typ, field.Name, name)
			continue
		}
		if property["description"] == nil {
			t.Errorf("property %q has no description", name)
		}
		if always := options == ""; always != slices.Contains(required, name) {
			t.Errorf("%s.%s is always written: %t, but required by the schema: %t", typ, field.Name, always, !always)
		}
		if items, ok := property["items"].(map[string]any); ok && items["properties"] != nil {
			compareFields(t, field.Type.Elem(), items)
		}
		if property["properties"] != nil {
			inner := field.Type
			if inner.Kind() == reflect.Pointer {
				inner = inner.Elem()
			}
			compareFields(t, inner, property)
		}
	}
	for name := range properties {
		if !seen[name] {
			t.Errorf("%s has no field for the schema's property %q", typ, name)
		}
	}
}

// A populated value has every property, and its encoding satisfies the schema.
func TestPopulatedValuesValidate(t *testing.T) {
	t.Parallel()
	schema := validators(t)
	for _, e := range contractMessages() {
		t.Run(e.eventType, func(t *testing.T) {
			t.Parallel()
			for field, value := range reflect.ValueOf(e.full).Fields() {
				if value.IsZero() && field.Name != "OrderedAt" { // of a further verification only
					t.Errorf("the test's value leaves %s zero", field.Name)
				}
			}
			m, err := e.encode(e.full)
			if err != nil {
				t.Fatal(err)
			}
			doc := parseJSON(t, m.Body)
			if err := schema[e.eventType].Validate(doc); err != nil {
				t.Error(err)
			}
			properties := readJSON(t, e.eventType+".v1.json").(map[string]any)["properties"].(map[string]any)
			for name := range properties {
				// compress is a synonym for input only; it is never written.
				if _, ok := doc.(map[string]any)[name]; !ok && name != "compress" {
					t.Errorf("the encoded value lacks %q", name)
				}
			}
		})
	}
}

func TestExamples(t *testing.T) {
	t.Parallel()
	schema := validators(t)
	for _, e := range contractMessages() {
		files, err := fs.Glob(schemas.FS, "examples/"+e.eventType+"/*.json")
		if err != nil || len(files) < 2 {
			t.Fatalf("%s has the examples %v: %v", e.eventType, files, err)
		}
		for _, file := range files {
			t.Run(e.eventType+"/"+path.Base(file), func(t *testing.T) {
				t.Parallel()
				raw, err := fs.ReadFile(schemas.FS, file)
				if err != nil {
					t.Fatal(err)
				}
				if err := schema[e.eventType].Validate(parseJSON(t, raw)); err != nil {
					t.Error(err)
				}
				decodeExample(t, e.eventType, raw)
				value := e.fresh()
				decoder := json.NewDecoder(bytes.NewReader(raw))
				decoder.DisallowUnknownFields()
				if err := decoder.Decode(value); err != nil {
					t.Fatal(err)
				}
				again, err := json.Marshal(value)
				if err != nil {
					t.Fatal(err)
				}
				if want, got := parseJSON(t, raw), parseJSON(t, again); !reflect.DeepEqual(want, got) {
					t.Errorf("read and written again:\n got %s\nwant %s", again, raw)
				}
			})
		}
	}
}

// decodeExample reads an example with the package's own decoder and writes it again.
func decodeExample(t *testing.T, eventType string, raw []byte) {
	t.Helper()
	if eventType == events.TypeRequested {
		r, err := events.Decode(events.Message{Subject: eventType, Body: raw})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Canonical(); err != nil {
			t.Error(err)
		}
		return
	}
	if eventType == events.TypeRestoreRequested {
		r, err := events.DecodeRestoreFor("acme", events.Message{Body: raw})
		if inv, ok := errors.AsType[*events.InvalidError](err); ok && inv.Field == "project_id" {
			r, err = events.DecodeRestoreFor("acme-staging", events.Message{Body: raw})
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Canonical(); err != nil {
			t.Error(err)
		}
		return
	}
	if eventType == events.TypeExportCall || eventType == events.TypeListCall {
		m := events.Message{Body: raw}
		_, err := events.DecodeExportCall("acme", m)
		if eventType == events.TypeListCall {
			_, err = events.DecodeListCall(m)
		}
		if err != nil {
			t.Error(err)
		}
		return
	}
	if decode, plain := plainMessages()[eventType]; plain {
		encode, err := decode(raw)
		if err != nil {
			t.Fatal(err)
		}
		m := encoded(t, encode)
		if want, got := parseJSON(t, raw), parseJSON(t, m.Body); !reflect.DeepEqual(want, got) {
			t.Errorf("decoded and encoded again:\n got %s\nwant %s", m.Body, raw)
		}
		return
	}
	e, err := events.DecodeEvent(events.Message{Header: map[string]string{"ce-type": eventType}, Body: raw})
	if err != nil {
		t.Fatal(err)
	}
	m := encodeEvent(t, e)
	if want, got := parseJSON(t, raw), parseJSON(t, m.Body); !reflect.DeepEqual(want, got) {
		t.Errorf("decoded and encoded again:\n got %s\nwant %s", m.Body, raw)
	}
}

// plainMessages decode questions over plain NATS and their answers, and return how each is encoded
// again.
func plainMessages() map[string]func(body []byte) (func() (events.Message, error), error) {
	type encode = func() (events.Message, error)
	return map[string]func([]byte) (encode, error){
		events.TypeCancel: func(b []byte) (encode, error) {
			c, err := events.DecodeCancel(events.Message{Subject: events.CancelSubject("r"), Body: b})
			return c.Encode, err
		},
		events.TypeCancelReply: func(b []byte) (encode, error) {
			r, err := events.DecodeCancelReply(events.Message{Body: b})
			return r.Encode, err
		},
		events.TypeRestoreCancel: func(b []byte) (encode, error) {
			c, err := events.DecodeRestoreCancel(events.Message{Subject: events.RestoreCancelSubject("r"), Body: b})
			return c.Encode, err
		},
		events.TypeRestoreCancelReply: func(b []byte) (encode, error) {
			r, err := events.DecodeRestoreCancelReply(events.Message{Body: b})
			return r.Encode, err
		},
	}
}

func encoded(t *testing.T, encode func() (events.Message, error)) events.Message {
	t.Helper()
	m, err := encode()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func encodeEvent(t *testing.T, e events.Event) events.Message {
	t.Helper()
	body, ok := e.Body().(interface {
		Encode(source string) (events.Message, error)
	})
	if !ok {
		t.Fatalf("%T cannot be encoded", e.Body())
	}
	m, err := body.Encode("test")
	if err != nil {
		t.Fatal(err)
	}
	if m.Header[events.HeaderType] != e.Type() {
		t.Errorf("a %s is of type %s", m.Header[events.HeaderType], e.Type())
	}
	return m
}

// The schemas describe the rules that only code can enforce.
func TestLimitsAreInTheSchemas(t *testing.T) {
	t.Parallel()
	doc := readJSON(t, events.TypeRequested+".v1.json").(map[string]any)
	items := doc["properties"].(map[string]any)["schemas"].(map[string]any)["items"].(map[string]any)
	limit, err := items["x-maxBytes"].(json.Number).Int64()
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("ü", int(limit)/2)
	if _, err := (events.Requested{ProjectID: "a", Schemas: []string{long + "x"}}).Normalize(); err != nil {
		t.Errorf("%d bytes: %v", len(long)+1, err)
	}
	if _, err := (events.Requested{ProjectID: "a", Schemas: []string{long + "ü"}}).Normalize(); err == nil {
		t.Errorf("%d bytes were accepted", len(long)+2)
	}
	if !strings.Contains(doc["description"].(string), strconv.Itoa(events.MaxRequestBytes)) {
		t.Error("the schema does not say how large a body may be")
	}
	// They are annotations, because JSON Schema cannot count a document's bytes and levels.
	for _, e := range contractMessages() {
		doc := readJSON(t, e.eventType+".v1.json").(map[string]any)
		limit := events.MaxEventBytes
		if slices.Contains([]string{events.TypeRequested, events.TypeCancel, events.TypeExportCall, events.TypeListCall, events.TypeRestoreRequested, events.TypeRestoreCancel}, e.eventType) {
			limit = events.MaxRequestBytes
		}
		if doc["x-maxBytes"] != json.Number(strconv.Itoa(limit)) || doc["x-maxDepth"] != json.Number("16") {
			t.Errorf("%s names the limits %v bytes and %v levels", e.eventType, doc["x-maxBytes"], doc["x-maxDepth"])
		}
	}
	for id, valid := range map[string]bool{
		"a": true, "_": true, "A-z_9": true, strings.Repeat("x", 100): true,
		"": false, strings.Repeat("x", 101): false, "a.b": false, "a b": false, "ä": false, "a\n": false, "*": false, ">": false,
	} {
		_, err := (events.Requested{ProjectID: "a", RequestID: id}).Normalize()
		if events.ValidRequest(id) != valid || (err == nil) != (valid || id == "") {
			t.Errorf("request id %q: ValidRequest %t, by the schema %v, want %t", id, events.ValidRequest(id), err, valid)
		}
		_, err = (events.Requested{ProjectID: id}).Normalize()
		if want := valid && id != events.NoProject; events.ValidProject(id) != want || (err == nil) != want {
			t.Errorf("project id %q: ValidProject %t, by the schema %v, want %t", id, events.ValidProject(id), err, want)
		}
	}
}
