package main

import (
	"net/url"

	"github.com/pgcourier/pgcourier/internal/storage"
	"github.com/pgcourier/pgcourier/internal/storage/file"
)

// openStorage opens the destination that a STORAGE URL names.
func openStorage(raw string) (*storage.Repository, func() error, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, nil, exitf(exitUsage, "PGCOURIER_STORAGE is not a URL such as file:///var/lib/exports")
	}
	if u.Scheme != "file" || u.Host != "" || u.Path == "" {
		return nil, nil, exitf(exitUsage, "PGCOURIER_STORAGE: only file:///dir is known, not %s://%s", u.Scheme, u.Host)
	}
	driver, err := file.Open(u.Path)
	if err != nil {
		return nil, nil, err
	}
	repository, err := storage.New(storage.Config{Driver: driver})
	return repository, driver.Close, err
}
