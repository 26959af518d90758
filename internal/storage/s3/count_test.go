package s3_test

import (
	"maps"
	"testing"

	"github.com/pgcourier/pgcourier/internal/dev/storagetest"
)

// docs/scaling.md shows the number of requests of an export, and S3 charges for them.
func TestRequestsOfAnExport(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		bytes int64
		want  map[string]int
	}{
		"within a part": {partSize / 2, map[string]int{"HEAD": 3, "PUT": 2}},
		"three parts":   {3*partSize - 1, map[string]int{"HEAD": 4, "POST": 2, "PUT": 4}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			check(t, save(t.Context(), s.open(t, s.config()), key, storagetest.Bytes(c.bytes)))
			got := map[string]int{}
			for _, r := range s.seen {
				got[r.Method]++
			}
			if !maps.Equal(got, c.want) {
				t.Errorf("requests are %v, want %v", got, c.want)
			}
		})
	}
}
