package export_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/export"
)

func TestSelectTakesExactlyTheProjectsSchemas(t *testing.T) {
	t.Parallel()
	owned := []string{"acme", "Acme", "acme_x", `we"ird`, "acme"}
	for name, tc := range map[string]struct {
		owned, wanted, want []string
		code                codes.Code
	}{
		"none wanted: all, each once, in the project's order": {owned, nil, []string{"acme", "Acme", "acme_x", `we"ird`}, ""},
		"in the order wanted, each once":                      {owned, []string{"acme_x", "acme", "acme_x"}, []string{"acme_x", "acme"}, ""},
		"case counts":                                         {owned, []string{"Acme"}, []string{"Acme"}, ""},
		"other case":                                          {owned, []string{"ACME"}, nil, codes.SchemaNotAllowed},
		"quotes are letters":                                  {owned, []string{`we"ird`}, []string{`we"ird`}, ""},
		"foreign":                                             {owned, []string{"acme", "globex"}, nil, codes.SchemaNotAllowed},
		"pattern":                                             {owned, []string{"acme*"}, nil, codes.SchemaNotAllowed},
		"option":                                              {owned, []string{"--file=/tmp/x"}, nil, codes.SchemaNotAllowed},
		"surrounding space":                                   {owned, []string{" acme"}, nil, codes.SchemaNotAllowed},
		"empty name":                                          {[]string{"acme", ""}, []string{""}, nil, codes.SchemaNotAllowed},
		"empty name owned, none wanted":                       {[]string{"acme", ""}, nil, nil, codes.SchemaNotAllowed},
		"project without schemas":                             {nil, nil, nil, codes.SchemaNotFound},
		"project without schemas, one wanted":                 {nil, []string{"acme"}, nil, codes.SchemaNotAllowed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := export.Select(export.Project{ID: "acme", Schemas: tc.owned}, tc.wanted)
			if tc.code == "" && err != nil {
				t.Fatal(err)
			}
			if fault, ok := errors.AsType[*export.Fault](err); tc.code != "" && (!ok || fault.Code != tc.code) {
				t.Fatalf("error %v, want a fault with %s", err, tc.code)
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("selected %q, want %q", got, tc.want)
			}
		})
	}
}

func TestSelectAnswersForeignAndUnknownAlike(t *testing.T) {
	t.Parallel()
	p := export.Project{Schemas: []string{"acme"}}
	_, foreign := export.Select(p, []string{"globex"})
	_, unknown := export.Select(p, []string{"acme", "no_such_schema"})
	if foreign == nil || unknown == nil || foreign.Error() != unknown.Error() {
		t.Errorf("foreign: %v, unknown: %v; want the same words", foreign, unknown)
	}
}
