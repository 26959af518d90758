package export_test

import (
	"fmt"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/storage"
)

// For all ids and labels that the contract accepts, the attempt's object is below its own project,
// with a name that every storage accepts and no other request has.
func FuzzObjectKey(f *testing.F) {
	for _, label := range []string{"", "nightly/2026", "../globex", "a/../b", `..\globex`, "%2e%2e", "globex", "a.part-00001", "a.manifest.json/b"} {
		f.Add("acme", "r1", label, uint16(1), false)
	}
	f.Add("acme", "_", strings.Repeat("a/", 15)+"a", uint16(65535), true)
	f.Add(strings.Repeat("p", 100), strings.Repeat("r", 100), strings.Repeat("x", 200), uint16(65535), true)
	f.Fuzz(func(t *testing.T, project, request, label string, attempt uint16, encrypted bool) {
		asked, err := events.Requested{ProjectID: project, RequestID: request, StoragePath: label}.Normalize()
		if err != nil || asked.RequestID == "" {
			return
		}
		e := &export.Exporter{}
		if encrypted {
			e.Seal.Recipients = make([]age.Recipient, 1)
		}
		req := export.Request{
			ID:     export.ID{Project: asked.ProjectID, Request: asked.RequestID},
			Format: export.Format(asked.Format), Compression: export.Compression(asked.Compression), StoragePath: asked.StoragePath,
		}
		key := export.Key(e, req, int(attempt))
		if err := storage.CheckKey(key); err != nil || path.Clean(key) != key || !filepath.IsLocal(key) {
			t.Fatalf("%+v gives %q: %v", asked, key, err)
		}
		folder := path.Join(project, label)
		name, below := strings.CutPrefix(key, folder+"/")
		if !below || !strings.HasPrefix(key, project+"/") || strings.Contains(name, "/") {
			t.Fatalf("%+v gives %q", asked, key)
		}
		// The request's id ends at the first dot, so that no two requests share a name.
		if !strings.HasPrefix(name, fmt.Sprintf("%s.%d.", request, attempt)) || strings.Contains(request, ".") {
			t.Fatalf("%+v gives %q", asked, key)
		}
	})
}
