package export

import (
	"slices"

	"github.com/pgcourier/pgcourier/events/codes"
)

// Select returns the schemas to dump: the wanted ones, or all of the project's if none are wanted.
// A wanted schema must equal one of the project's. A pattern, a foreign name and an unknown name
// all give the same Fault with SchemaNotAllowed, so that the answer reveals nothing. The order is
// that of wanted (else the project's), without duplicates. A project without schemas is a Fault
// with SchemaNotFound.
func Select(p Project, wanted []string) ([]string, error) {
	if len(wanted) == 0 {
		wanted = p.Schemas
	}
	if len(wanted) == 0 {
		return nil, &Fault{Code: codes.SchemaNotFound, Message: "the project has no schemas"}
	}
	selected := make([]string, 0, len(wanted))
	for _, s := range wanted {
		if s == "" || !slices.Contains(p.Schemas, s) {
			return nil, &Fault{Code: codes.SchemaNotAllowed, Message: "the request names a schema that is not the project's"}
		}
		if !slices.Contains(selected, s) {
			selected = append(selected, s)
		}
	}
	return selected, nil
}
