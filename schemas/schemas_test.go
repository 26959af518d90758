package schemas_test

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"testing"

	"github.com/pgcourier/pgcourier/schemas"
)

// Every file that is embedded as JSON is JSON, with the same formatting.
func TestFilesAreFormatted(t *testing.T) {
	t.Parallel()
	seen := 0
	err := fs.WalkDir(schemas.FS, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || name == "asyncapi.yaml" {
			return err
		}
		seen++
		raw, err := fs.ReadFile(schemas.FS, name)
		if err != nil {
			return err
		}
		if !json.Valid(raw) {
			t.Errorf("%s is not valid JSON", name)
		}
		if n := len(raw); n < 2 || raw[n-1] != '\n' || raw[n-2] == '\n' {
			t.Errorf("%s does not end in one line break", name)
		}
		return nil
	})
	if err != nil || seen < 15 {
		t.Errorf("saw %d files: %v", seen, err)
	}
}

func ExampleFS() {
	raw, err := fs.ReadFile(schemas.FS, "backup.requested.v1.json")
	if err != nil {
		fmt.Println(err)
		return
	}
	var schema struct {
		Title    string   `json:"title"`
		Required []string `json:"required"`
	}
	if err := json.Unmarshal(raw, &schema); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(schema.Title, schema.Required)
	// Output: backup.requested v1 [project_id]
}
