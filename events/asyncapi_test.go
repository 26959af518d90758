package events_test

import (
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/schemas"
)

func TestAsyncAPI(t *testing.T) {
	t.Parallel()
	raw, err := fs.ReadFile(schemas.FS, "asyncapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		AsyncAPI string `yaml:"asyncapi"`
		Channels map[string]struct {
			Address    string         `yaml:"address"`
			Parameters map[string]any `yaml:"parameters"`
		} `yaml:"channels"`
		Components struct {
			Messages map[string]struct {
				Name    string `yaml:"name"`
				Payload struct {
					Schema struct {
						Ref string `yaml:"$ref"`
					} `yaml:"schema"`
				} `yaml:"payload"`
			} `yaml:"messages"`
		} `yaml:"components"`
	}
	if err := yaml.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	if doc.AsyncAPI != "3.0.0" {
		t.Errorf("asyncapi is %q", doc.AsyncAPI)
	}

	const project, request, restore = "{project_id}", "{request_id}", "{restore_id}"
	wantAddresses := []string{
		events.TypeRequested, events.RequestSubject(project),
		events.EventSubject(events.TypeStarted, project, request), events.EventSubject(events.TypeProgress, project, request),
		events.EventSubject(events.TypeCompleted, project, request), events.EventSubject(events.TypeFailed, project, request),
		events.EventSubject(events.TypeVerified, project, request), events.EventSubject(events.TypeVerificationFailed, project, request),
		events.EventSubject(events.TypeExpiring, project, request), events.EventSubject(events.TypeExpired, project, request),
		events.EventSubject(events.TypeLinkIssued, project, request), events.EventSubject(events.TypeDownloaded, project, request),
		events.EventSubject(events.TypeLinkRevoked, project, request), events.EventSubject(events.TypeLinkExpired, project, request),
		events.RestoreSubject(project), events.EventSubject(events.TypeRestoreStarted, project, restore), events.EventSubject(events.TypeRestoreProgress, project, restore),
		events.EventSubject(events.TypeRestoreCompleted, project, restore), events.EventSubject(events.TypeRestoreFailed, project, restore),
		events.RestoreCancelSubject(restore), "",
		events.CancelSubject(request), "", events.EventSubject(events.TypeCancelling, project, request), // "": the reply's, known at run time
		events.CallSubject(project, events.CallRequest), events.CallSubject(project, events.CallStatus),
		events.CallSubject(project, events.CallCancel), events.CallSubject(project, events.CallList), "",
	}
	var addresses []string
	for name, channel := range doc.Channels {
		addresses = append(addresses, channel.Address)
		if strings.Count(channel.Address, "{") != len(channel.Parameters) {
			t.Errorf("channel %s: parameters do not match %q", name, channel.Address)
		}
	}
	slices.Sort(addresses)
	slices.Sort(wantAddresses)
	if !slices.Equal(addresses, wantAddresses) {
		t.Errorf("addresses:\n got %q\nwant %q", addresses, wantAddresses)
	}

	var refs, files []string
	for name, message := range doc.Components.Messages {
		refs = append(refs, strings.TrimPrefix(message.Payload.Schema.Ref, "./"))
		if message.Payload.Schema.Ref != "./"+message.Name+".v1.json" {
			t.Errorf("message %s named %q has the payload %q", name, message.Name, message.Payload.Schema.Ref)
		}
	}
	if files, err = fs.Glob(schemas.FS, "*.v1.json"); err != nil {
		t.Fatal(err)
	}
	slices.Sort(refs)
	if !slices.Equal(refs, files) {
		t.Errorf("payloads %q, schema files %q", refs, files)
	}
	checkLocalRefs(t, raw)
}

// checkLocalRefs resolves every "#/..." reference of the document.
func checkLocalRefs(t *testing.T, raw []byte) {
	t.Helper()
	var root any
	if err := yaml.Unmarshal(raw, &root); err != nil {
		t.Fatal(err)
	}
	refs := regexp.MustCompile(`\$ref: '#/([^']+)'`).FindAllSubmatch(raw, -1)
	if len(refs) == 0 {
		t.Error("no local references found")
	}
	for _, ref := range refs {
		at := root
		for step := range strings.SplitSeq(string(ref[1]), "/") {
			m, _ := at.(map[string]any)
			at = m[step]
		}
		if at == nil {
			t.Errorf("reference #/%s has no target", ref[1])
		}
	}
}

// The codes in Go, in the schemas and in asyncapi.yaml are the same, and so is which of them are
// permanent.
func TestCodesAgree(t *testing.T) {
	t.Parallel()
	raw, err := fs.ReadFile(schemas.FS, "asyncapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for eventType, of := range map[string][]codes.Code{events.TypeFailed: codes.OfFailures(), events.TypeRestoreFailed: codes.OfRestores()} {
		var want []string
		for _, c := range of {
			want = append(want, string(c))
		}
		slices.Sort(want)
		properties := readJSON(t, eventType+".v1.json").(map[string]any)["properties"].(map[string]any)
		var listed []string
		for _, code := range properties["code"].(map[string]any)["examples"].([]any) {
			listed = append(listed, code.(string))
		}
		slices.Sort(listed)
		if !slices.Equal(listed, want) {
			t.Errorf("codes of the schema of %s:\n got %v\nwant %v", eventType, listed, want)
		}
		_, message, _ := strings.Cut(string(raw), "      name: "+eventType+"\n")
		message, _, _ = strings.Cut(message, "      contentType:")
		permanent, other, found := strings.Cut(message, "Worth another try:")
		if !found {
			t.Fatalf("asyncapi.yaml has no groups of codes of %s", eventType)
		}
		for _, code := range want {
			list := other
			if codes.Code(code).Permanent() {
				list = permanent
			}
			if !strings.Contains(list, "`"+code+"`") {
				t.Errorf("asyncapi.yaml does not list the code %q of %s in its group", code, eventType)
			}
		}
	}
}
