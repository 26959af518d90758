package codes_test

import (
	"fmt"

	"github.com/pgcourier/pgcourier/events/codes"
)

func ExampleCode_Permanent() {
	fmt.Println(codes.SchemaNotAllowed, codes.SchemaNotAllowed.Permanent())
	fmt.Println(codes.StorageUnavailable, codes.StorageUnavailable.Permanent())
	// Output:
	// schema_not_allowed true
	// storage_unavailable false
}
