package service_test

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/pgcourier/pgcourier/internal/config"
	"github.com/pgcourier/pgcourier/internal/service"
)

// The service checks the prerequisites of its roles before it accepts any work.
func ExampleNew() {
	settings, err := config.Load(nil, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	s, err := service.New(context.Background(), service.Config{Settings: settings, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = s.Close() }()
	fmt.Println(s.Run(context.Background()))
	// Output: set PGCOURIER_DATABASE_URL: the database of the control plane and the ledger
}
