package destinations_test

import (
	"fmt"

	"github.com/pgcourier/pgcourier/internal/storage/destinations"
)

func ExampleParse() {
	all, err := destinations.Parse([]string{"file:///srv/exports", "s3://backups/prod", "s3://elsewhere?required=true"})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, l := range all {
		fmt.Println(l.Name, l.URL, l.Optional)
	}
	// Output:
	// file file:///srv/exports false
	// s3 s3://backups/prod true
	// s3-2 s3://elsewhere false
}
