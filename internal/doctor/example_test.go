package doctor_test

import (
	"context"
	"fmt"

	"github.com/pgcourier/pgcourier/internal/doctor"
)

func ExampleRun() {
	found := doctor.Run(context.Background(), doctor.Bounds{}, []doctor.Check{
		{Name: "disk", Run: func(_ context.Context, r *doctor.Report) {
			r.Add("data", doctor.Room(doctor.Space{Free: 3 << 30, Files: -1}, 0))
		}},
	})
	for _, f := range found {
		fmt.Println(f.Check, f.State, f.Found)
	}
	// Output: disk/data ok 3.0 GiB free
}
