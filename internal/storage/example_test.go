package storage_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/pgcourier/pgcourier/internal/dev/storagetest"
	"github.com/pgcourier/pgcourier/internal/storage"
	"github.com/pgcourier/pgcourier/internal/storage/file"
)

// An export is stored, found again without any database, and read with every byte checked.
func Example() {
	dir, err := os.MkdirTemp("", "storage-example-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	driver, err := file.Open(dir)
	if err != nil {
		panic(err)
	}
	defer driver.Close()
	store, err := storage.New(storage.Config{Driver: driver})
	if err != nil {
		panic(err)
	}

	ctx := context.Background()
	const key, dump = "acme/req-1.1.sql", "CREATE TABLE t ();"
	copies, err := store.Put(ctx, key, strings.NewReader(dump), storagetest.Describe(key, []byte(dump)))
	fmt.Println(copies[0].Status, copies[0].URI, err)

	for doc, err := range store.Manifests(ctx) {
		fmt.Println(doc.Key, doc.Bytes, err)
	}
	body, err := store.Open(ctx, key)
	if err != nil {
		panic(err)
	}
	defer body.Close()
	b, err := io.ReadAll(body)
	fmt.Printf("%s %v\n", b, err)
	// Output:
	// stored file:acme/req-1.1.sql <nil>
	// acme/req-1.1.sql 18 <nil>
	// CREATE TABLE t (); <nil>
}
