package export_test

import (
	"context"
	"testing"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/delivery"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/seal"
)

// levelled is a control plane with one project that names a level.
type levelled seal.Level

func (l levelled) Lookup(context.Context, string) (export.Project, error) {
	return export.Project{ID: "p", Schemas: []string{"s"}, Level: seal.Level(l)}, nil
}

func TestTheLevelIsTheRequestsElseTheProjectsElseTheWorkers(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		request, project, worker seal.Level
		compression              seal.Compression
		want                     seal.Level
		fails                    codes.Code
	}{
		"none says one":        {compression: seal.Gzip, want: seal.Default},
		"the worker":           {worker: seal.Fast, compression: seal.Zstd, want: seal.Fast},
		"the project":          {project: seal.Best, worker: seal.Fast, compression: seal.Gzip, want: seal.Best},
		"the request":          {request: seal.Default, project: seal.Best, worker: seal.Fast, compression: seal.Zstd, want: seal.Default},
		"without compression":  {project: seal.Best, worker: seal.Fast, compression: seal.Plain},
		"an unknown one":       {project: "9", compression: seal.Gzip, fails: codes.InternalError},
		"an unknown one asked": {request: seal.Best, project: "BEST", compression: seal.Gzip, fails: codes.InternalError},
	} {
		b := newBench(good(2))
		b.export.Projects, b.export.Seal.Level = levelled(tc.project), tc.worker
		b.req.Level, b.req.Compression = tc.request, tc.compression
		out, err := b.run(t.Context(), delivery.Delivery{Number: 1, Last: true})
		if err != nil {
			t.Fatal(err)
		}
		if out.Code != tc.fails {
			t.Errorf("%s: %+v, want the code %q", name, out, tc.fails)
		}
		if tc.fails == "" && out.Artifact.Level != tc.want {
			t.Errorf("%s: level %q, want %q", name, out.Artifact.Level, tc.want)
		}
	}
}
