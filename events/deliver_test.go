package events_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pgcourier/pgcourier/events"
)

const sshKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHsKLqeplhpW+uObz5dvMgjz1OxfM/XXUB+VHtZ6isGN"

func TestTheOrderAndTheCommentsOfRecipientsHaveNoMeaning(t *testing.T) {
	t.Parallel()
	one, err := events.Requested{ProjectID: "acme", Recipients: []string{sshKey + " ann@example.com", ageKey, sshKey + " the same"}}.Canonical()
	if err != nil {
		t.Fatal(err)
	}
	other, err := events.Requested{ProjectID: "acme", Recipients: []string{ageKey, sshKey}}.Canonical()
	if err != nil || string(one) != string(other) {
		t.Errorf("%s and %s, %v", one, other, err)
	}
	more, err := events.Requested{ProjectID: "acme", Recipients: []string{ageKey}}.Canonical()
	if err != nil || string(one) == string(more) {
		t.Errorf("other recipients have the same canonical form %s, %v", more, err)
	}
}

func TestRecipientsThatAreNoPublicKeysAreRefusedUnrepeated(t *testing.T) {
	t.Parallel()
	eleven := make([]string, 11)
	for i := range eleven {
		eleven[i] = ageKey + strings.Repeat("q", i)
	}
	for _, keys := range [][]string{
		{"AGE-SECRET-KEY-1QQQQ"}, {""}, {"age1"}, {"age1UPPER"}, {ageKey + "\n" + ageKey}, {"ssh-dss AAAA"}, {"ssh-ed25519"},
		{`command="x" ` + sshKey}, {sshKey + " a\x1b[31m"}, {sshKey + "\n"}, {strings.Repeat("age1q", 1000)}, {ageKey, ageKey}, eleven,
	} {
		_, err := events.Requested{ProjectID: "acme", Recipients: keys}.Normalize()
		if err == nil {
			t.Errorf("%.60q is accepted", keys)
			continue
		}
		if !strings.Contains(err.Error(), "recipients") || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%.60q: %v", keys, err)
		}
	}
}

func TestLifetimesHaveOneSpelling(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		ttl, want string
		lifetime  time.Duration
	}{
		{"", "7d", events.DefaultTTL}, {"60s", "1m", time.Minute}, {"24h", "1d", 24 * time.Hour}, {"90m", "90m", 90 * time.Minute},
		{"366d", "366d", events.MaxTTL}, {"61s", "61s", 61 * time.Second},
	} {
		r, err := events.Requested{ProjectID: "acme", Deliver: &events.Deliver{TTL: row.ttl}}.Normalize()
		if err != nil || r.Deliver.TTL != row.want || r.Deliver.Lifetime() != row.lifetime || r.Deliver.After != events.AfterCompleted {
			t.Errorf("%q: %+v, %v", row.ttl, r.Deliver, err)
		}
	}
	for _, ttl := range []string{"0s", "59s", "367d", "1", "d", "-1d", "1.5h", "1w", "01h", "9999999d", "1h1m", "1h\n"} {
		if _, err := (events.Requested{ProjectID: "acme", Deliver: &events.Deliver{TTL: ttl}}).Normalize(); err == nil || !strings.Contains(err.Error(), "deliver.ttl") {
			t.Errorf("%q: %v", ttl, err)
		}
		if d, ok := events.ParseTTL(ttl); ok && !slices.Contains([]string{"01h"}, ttl) {
			t.Errorf("ParseTTL(%q) = %v", ttl, d)
		}
	}
}

// The digest of the canonical form distinguishes repetitions from conflicts, also in ledgers of
// earlier releases. A request without the fields of the hand-over keeps its bytes.
func TestRequestsOfBeforeKeepTheirCanonicalForm(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		`{"project_id":"acme"}`: `{"project_id":"acme","format":"sql","compression":"gzip"}`,
		`{"project_id":"acme","request_id":"r1","schemas":["b","a"],"compress":false,"metadata":{"b":"2","a":"1"},"requested_by":"gateway"}`:                           `{"project_id":"acme","request_id":"r1","schemas":["a","b"],"format":"sql","compression":"none","requested_by":"gateway","metadata":{"a":"1","b":"2"}}`,
		`{"project_id":"acme","request_id":"r1-r2","format":"directory","jobs":4,"storage_path":"x/y","notify_email":"a@example.com","replay_of":"r1","generation":2}`: `{"project_id":"acme","request_id":"r1-r2","format":"directory","compression":"gzip","jobs":4,"storage_path":"x/y","notify_email":"a@example.com","replay_of":"r1","generation":2}`,
	} {
		r, err := events.Decode(events.Message{Body: []byte(body)})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := r.Canonical(); err != nil || string(got) != want {
			t.Errorf("%s:\n got %s, %v\nwant %s", body, got, err, want)
		}
	}
}
