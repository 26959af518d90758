// Command victim meets a fail point three times.
package main

import (
	"fmt"

	"github.com/pgcourier/pgcourier/internal/failpoint"
)

func main() {
	for n := 1; n <= 3; n++ {
		fmt.Println(n)
		failpoint.Hit(failpoint.AfterClaim)
	}
	fmt.Println("survived")
}
