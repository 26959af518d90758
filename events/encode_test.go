package events_test

import (
	"errors"
	"maps"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/events/codes"
)

func TestEncodeHeaders(t *testing.T) {
	t.Parallel()
	const at, end = "2026-03-14T09:26:54.123456Z", "2026-03-14T09:26:55.123456Z"
	for _, e := range contractEvents() {
		t.Run(e.eventType, func(t *testing.T) {
			t.Parallel()
			m, err := e.encode(e.full)
			if err != nil {
				t.Fatal(err)
			}
			subject := e.eventType + ".acme.r1"
			want := map[string]string{
				"ce-specversion": "1.0", "ce-type": e.eventType, "ce-source": "test", "ce-id": subject,
				"ce-subject": "acme/r1", "content-type": "application/json", "tracestate": "a=b",
				"ce-dataschema": "https://github.com/pgcourier/pgcourier/raw/main/schemas/" + e.eventType + ".v1.json",
				"traceparent":   "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
			}
			switch e.eventType {
			case events.TypeRequested:
				subject = "backup.requested.acme"
			case events.TypeRestoreRequested:
				subject = "restore.requested.acme"
			case events.TypeStarted, events.TypeRestoreStarted:
				want["ce-id"], want["ce-time"] = subject+".2", at
			case events.TypeProgress, events.TypeRestoreProgress:
				want["ce-id"], want["ce-time"] = subject+".2.1773480414123", at
			case events.TypeExpiring:
				want["ce-id"], want["ce-time"] = subject+".1773480414123", at
			case events.TypeLinkIssued, events.TypeLinkRevoked:
				want["ce-id"], want["ce-time"] = subject+"."+linkID, at
			case events.TypeLinkExpired:
				want["ce-id"], want["ce-time"] = subject+"."+linkID, end
			case events.TypeDownloaded:
				want["ce-id"], want["ce-time"] = subject+".d1", end
			default:
				want["ce-time"] = end
			}
			if m.Subject != subject || !maps.Equal(m.Header, want) {
				t.Errorf("subject %q, headers\n got %v\nwant %v", m.Subject, m.Header, want)
			}
			again, err := e.encode(e.full)
			if err != nil || !reflect.DeepEqual(again, m) {
				t.Errorf("encoded again: %+v, %v; want %+v", again, err, m)
			}
		})
	}
}

// An encoded value decodes to the same value.
func TestEncodeAndDecode(t *testing.T) {
	t.Parallel()
	for _, e := range contractEvents() {
		t.Run(e.eventType, func(t *testing.T) {
			t.Parallel()
			m, err := e.encode(e.full)
			if err != nil {
				t.Fatal(err)
			}
			if want, ok := e.full.(events.Requested); ok {
				want.Compress = nil
				want.Deliver = &events.Deliver{TTL: "2d", MaxDownloads: 3, After: events.AfterVerified}
				if got, err := events.Decode(m); err != nil || !reflect.DeepEqual(got, want) {
					t.Errorf("got %+v, %v; want %+v", got, err, want)
				}
				return
			}
			if want, ok := e.full.(events.RestoreRequested); ok {
				if got, err := events.DecodeRestore(m); err != nil || !reflect.DeepEqual(got, want) {
					t.Errorf("got %+v, %v; want %+v", got, err, want)
				}
				return
			}
			got, err := events.DecodeEvent(m)
			if err != nil {
				t.Fatal(err)
			}
			want := reflect.New(reflect.TypeOf(e.full))
			want.Elem().Set(reflect.ValueOf(e.full))
			set := 0
			for _, v := range []any{got.Started, got.Progress, got.Completed, got.Failed, got.Verified, got.VerificationFailed, got.Expiring, got.Expired,
				got.LinkIssued, got.Downloaded, got.LinkRevoked, got.LinkExpired,
				got.RestoreStarted, got.RestoreProgress, got.RestoreCompleted, got.RestoreFailed} {
				if !reflect.ValueOf(v).IsNil() {
					set++
					if !reflect.DeepEqual(v, want.Interface()) {
						t.Errorf("got %+v, want %+v", v, want.Interface())
					}
				}
			}
			if set != 1 {
				t.Errorf("%d fields of the event are set", set)
			}
			if project, request := got.IDs(); project != "acme" || request != "r1" {
				t.Errorf("ids %q, %q", project, request)
			}
			_, err = events.DecodeOutcome(m)
			if isOutcome := got.Completed != nil || got.Failed != nil; (err == nil) != isOutcome {
				t.Errorf("as an outcome: %v", err)
			}
		})
	}
}

// No free text of a worker prevents an outcome from being published.
func TestEncodeCutsFreeText(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 14, 10, 26, 54, 0, time.FixedZone("CET", 3600))
	m, err := events.Failed{
		RequestID: "r1", ProjectID: events.NoProject, Code: codes.InternalError, FinishedAt: at,
		Message: "a\x1b[31m\xff\n" + strings.Repeat("ü", 2000),
	}.Encode("test")
	if err != nil {
		t.Fatal(err)
	}
	o, err := events.DecodeOutcome(m)
	if err != nil {
		t.Fatal(err)
	}
	if got := o.Failed.Message; !strings.HasPrefix(got, "a [31m\uFFFD ü") || !strings.HasSuffix(got, "ü…") || len([]rune(got)) != 1000 {
		t.Errorf("message %.40q of %d characters", got, len([]rune(got)))
	}
	if m.Header["ce-time"] != "2026-03-14T09:26:54Z" || !strings.Contains(string(m.Body), `"finished_at":"2026-03-14T09:26:54Z"`) {
		t.Errorf("times are not in UTC: %s, %s", m.Header["ce-time"], m.Body)
	}

	full := contractEvents()[3].full.(events.Completed)
	full.Warnings = append(make([]string, 3), strings.Fields(strings.Repeat("w ", 200))...)
	full.ServerVersion = strings.Repeat("1", 500)
	m, err = full.Encode("test")
	if err != nil {
		t.Fatal(err)
	}
	o, err = events.DecodeOutcome(m)
	if err != nil || len(o.Completed.Warnings) != 100 || len([]rune(o.Completed.ServerVersion)) != 100 {
		t.Errorf("got %+v, %v", o.Completed, err)
	}
}

// No name of a caller prevents the event of a link from being published: the issuers of JWTs permit longer ones.
func TestEncodeCutsTheNameOfACaller(t *testing.T) {
	t.Parallel()
	by := "oidc:\x1b" + strings.Repeat("x", 250)
	full := map[string]any{}
	for _, e := range contractEvents() {
		full[e.eventType] = e.full
	}
	issued, downloaded, revoked := full[events.TypeLinkIssued].(events.LinkIssued), full[events.TypeDownloaded].(events.Downloaded), full[events.TypeLinkRevoked].(events.LinkRevoked)
	issued.IssuedBy, downloaded.DownloadedBy, revoked.RevokedBy = by, by, by
	for _, encode := range []func(string) (events.Message, error){issued.Encode, downloaded.Encode, revoked.Encode} {
		m, err := encode("test")
		if err != nil || !strings.Contains(string(m.Body), `"oidc: `+strings.Repeat("x", 193)+`…"`) {
			t.Errorf("%s, %v", m.Body, err)
			continue
		}
		if _, err := events.DecodeEvent(m); err != nil {
			t.Error(err)
		}
	}
}

func TestEncodeRefuses(t *testing.T) {
	t.Parallel()
	full := map[string]any{}
	for _, e := range contractEvents() {
		full[e.eventType] = e.full
	}
	started, progress := full[events.TypeStarted].(events.Started), full[events.TypeProgress].(events.Progress)
	completed, failed := full[events.TypeCompleted].(events.Completed), full[events.TypeFailed].(events.Failed)
	try := func(field string, encode func(string) (events.Message, error)) {
		t.Helper()
		_, err := encode("test")
		if inv, ok := errors.AsType[*events.InvalidError](err); !ok || inv.Field != field {
			t.Errorf("got %v, want a fault in %s", err, field)
		}
	}
	s := started
	s.StartedAt = time.Time{}
	try("started_at", s.Encode)
	s = started
	s.Attempt = 0
	try("attempt", s.Encode)
	p := progress
	p.At = time.Time{}
	try("at", p.Encode)
	p = progress
	p.SizeBytes = -1
	try("size_bytes", p.Encode)
	p.SizeBytes = 1 << 53
	try("size_bytes", p.Encode)
	c := completed
	c.StartedAt = time.Time{}
	try("started_at", c.Encode)
	c = completed
	c.FinishedAt = time.Time{}
	try("finished_at", c.Encode)
	c = completed
	c.ProjectID = events.NoProject
	try("project_id", c.Encode)
	c = completed
	c.SHA256 = strings.ToUpper(c.SHA256)
	try("sha256", c.Encode)
	c = completed
	c.Storage = []events.Location{{URI: "/var/lib/exports/x"}}
	try("storage[0].uri", c.Encode)
	c.Storage = nil
	try("storage", c.Encode)
	failedCopy := events.Location{Destination: "s3", Status: events.LocationFailed, Code: codes.StorageFull}
	c.Storage = []events.Location{failedCopy} // no destination has it: this is not a success
	try("storage", c.Encode)
	c.Storage = []events.Location{{Destination: "s3", Status: events.LocationStored}}
	try("storage[0].uri", c.Encode)
	c.Storage = []events.Location{{URI: "file:a"}, {Destination: "s3", Status: events.LocationFailed}}
	try("storage[1].code", c.Encode)
	c.Storage = []events.Location{{URI: "file:a"}, {Destination: "S3", Status: events.LocationFailed, Code: "x"}}
	try("storage[1].destination", c.Encode)
	c.Storage = []events.Location{{URI: "file:a"}, {Destination: "s3", Status: "lost", Code: "x"}}
	try("storage[1].status", c.Encode)
	f := failed
	f.FinishedAt = time.Time{}
	try("finished_at", f.Encode)
	f = failed
	f.Code = "No such thing"
	try("code", f.Encode)
	f = failed
	f.FinishedAt = time.Date(12026, 1, 1, 0, 0, 0, 0, time.UTC)
	try("body", f.Encode)
	f = failed
	f.Request = &events.Requested{ProjectID: "a.b"}
	try("request.project_id", f.Encode)
	try("request_id", events.Requested{ProjectID: "acme"}.Encode)
	for _, source := range []string{"", "a b", "a\n", "ä", ":", strings.Repeat("x", 256)} {
		try("ce-source", func(string) (events.Message, error) { return failed.Encode(source) })
	}
}

func TestDecodeOutcome(t *testing.T) {
	t.Parallel()
	const body = `{"request_id":"r1","project_id":"acme","attempts":1,"code":"new_code","permanent":true,"message":"m","finished_at":"2026-03-14T09:26:54Z","duration_ms":0}`
	const subject = "backup.failed.acme.r1"
	grown := strings.Replace(body, `{`, `{"new_field":{"a":[1]},`, 1)
	for name, m := range map[string]events.Message{
		"a bare body under its subject": {Subject: subject, Body: []byte(body)},
		"a typed body":                  {Header: map[string]string{"Ce-Type": "backup.failed"}, Body: []byte(body)},
		"a field of a later v1":         {Subject: subject, Body: []byte(grown)},
	} {
		if o, err := events.DecodeOutcome(m); err != nil || o.Failed == nil || o.Failed.Code != "new_code" {
			t.Errorf("%s: %+v, %v", name, o, err)
		}
	}
	for name, c := range map[string]struct {
		m     events.Message
		field string
	}{
		"no type at all":      {events.Message{Body: []byte(body)}, "ce-type"},
		"a request":           {events.Message{Subject: "backup.requested.acme", Body: []byte(body)}, "ce-type"},
		"a progress":          {events.Message{Subject: "backup.progress.acme.r1", Body: []byte(`{"request_id":"r1","project_id":"acme","attempt":1,"size_bytes":0,"stored_bytes":0,"at":"2026-03-14T09:26:55Z"}`)}, "ce-type"},
		"another type":        {events.Message{Subject: subject, Header: map[string]string{"ce-type": "backup.completed"}, Body: []byte(body)}, "ce-type"},
		"another specversion": {events.Message{Subject: subject, Header: map[string]string{"ce-specversion": "2.0"}, Body: []byte(body)}, "ce-specversion"},
		"a compressed body":   {events.Message{Subject: subject, Header: map[string]string{"content-encoding": "gzip"}, Body: []byte(body)}, "content-encoding"},
		"a repeated header":   {events.Message{Subject: subject, Header: map[string]string{"ce-type": "backup.failed", "CE-TYPE": "backup.failed"}, Body: []byte(body)}, "ce-type"},
		"another request":     {events.Message{Subject: "backup.failed.acme.r2", Body: []byte(body)}, "subject"},
		"another project":     {events.Message{Subject: "backup.failed.other.r1", Body: []byte(body)}, "subject"},
		"another case":        {events.Message{Subject: subject, Body: []byte(strings.Replace(body, "code", "Code", 1))}, "code"},
		"a field twice":       {events.Message{Subject: subject, Body: []byte(strings.Replace(body, `{`, `{"code":"x",`, 1))}, "body"},
		"a local time":        {events.Message{Subject: subject, Body: []byte(strings.Replace(body, "54Z", "54+01:00", 1))}, "finished_at"},
		"no such time":        {events.Message{Subject: subject, Body: []byte(strings.Replace(body, "09:26", "29:26", 1))}, "finished_at"},
		"too large":           {events.Message{Subject: subject, Body: []byte(strings.Replace(body, `{`, `{"x":"`+strings.Repeat("x", events.MaxEventBytes)+`",`, 1))}, "body"},
	} {
		_, err := events.DecodeOutcome(c.m)
		if inv, ok := errors.AsType[*events.InvalidError](err); !ok || inv.Field != c.field {
			t.Errorf("%s: got %v, want a fault in %s", name, err, c.field)
		}
	}
}

func TestSubjects(t *testing.T) {
	t.Parallel()
	for got, want := range map[string]string{
		events.RequestSubject("acme"):                                 "backup.requested.acme",
		events.EventSubject(events.TypeCompleted, "acme", "r1"):       "backup.completed.acme.r1",
		events.EventSubject(events.TypeFailed, events.NoProject, "7"): "backup.failed._.7",
		events.OutcomeFilter("acme", "r1"):                            "backup.*.acme.r1",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	first := events.NewRequestID(time.Date(2026, 3, 14, 9, 26, 53, 0, time.UTC))
	second := events.NewRequestID(time.Date(2026, 3, 14, 11, 26, 53, 0, time.FixedZone("CET", 3600)))
	if !events.ValidRequest(first) || !strings.HasPrefix(first, "20260314t092653-") || len(first) != 32 || first >= second {
		t.Errorf("request ids %q and %q", first, second)
	}
	if again := events.NewRequestID(time.Date(2026, 3, 14, 9, 26, 53, 0, time.UTC)); again == first {
		t.Errorf("the id %q came twice", again)
	}
}
