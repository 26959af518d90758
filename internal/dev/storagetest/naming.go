package storagetest

import (
	"errors"
	"sync"
	"testing"

	"github.com/pgcourier/pgcourier/internal/storage"
)

// Writers of one name: exactly one wins, and the others change nothing.
func driverRacing(t *testing.T, dst Destination) {
	if _, ok := dst.Driver.(storage.Lister); !ok {
		t.Log("names do not address blobs here")
		return
	}
	const writers = 8
	var wg sync.WaitGroup
	stored := make([]storage.Stored, writers)
	errs := make([]error, writers)
	for i := range writers {
		wg.Go(func() {
			stored[i], errs[i] = dst.Driver.Put(background(t), dst.blob(dst.data("acme/r.1.sql"), Bytes(int64(1000+i))))
		})
	}
	wg.Wait()
	won := 0
	for i, err := range errs {
		if err == nil {
			won++
			if got, err := get(t, dst.Driver, stored[i].Ref, 0); err != nil || len(got) != 1000+i {
				t.Errorf("winner %d: %d bytes, %v", i, len(got), err)
			}
		} else if !errors.Is(err, storage.ErrExists) {
			t.Errorf("writer %d: %v", i, err)
		}
	}
	if won != 1 {
		t.Errorf("%d writers succeeded", won)
	}
	dst.expectRemains(t, 1)
}

func driverNames(t *testing.T, dst Destination) {
	lister, ok := dst.Driver.(storage.Lister)
	if !ok {
		t.Log("this driver cannot list")
		return
	}
	want := map[storage.Name]bool{
		dst.data("acme/a.1.sql"): true, {Key: "acme/a.1.sql", Kind: storage.Manifest}: true,
		dst.data("acme/label/b.2.tar.gz.age"): true, dst.data("other/a.1.sql"): true,
		{Key: "other/c.1.sql", Part: 3}:              true,
		{Key: "acme/a.1.sql", Kind: storage.Receipt}: true, {Key: "acme/a.1.sql", Kind: storage.Verification}: true,
	}
	for n := range want {
		dst.put(t, n, Bytes(10))
	}
	dst.Litter(t)
	for n, err := range lister.Names(background(t)) {
		if err != nil {
			t.Fatal(err)
		}
		if !want[n] {
			t.Errorf("%s was never stored", n)
		}
		delete(want, n)
	}
	for n := range want {
		t.Errorf("%s is not listed", n)
	}
	for _, err := range lister.Names(background(t)) {
		if err != nil {
			t.Error(err)
		}
		break // leaving early is allowed
	}
	if _, err := lister.Find(background(t), storage.Name{Key: "acme/none.1.sql"}); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("find nothing: %v", err)
	}
}

func driverSweep(t *testing.T, dst Destination) {
	lister, ok := dst.Driver.(storage.Lister)
	if !ok {
		t.Log("this driver cannot list")
		return
	}
	const key = "acme/a.1.sql"
	neighbours := []storage.Name{
		{Key: key + ".gz"}, {Key: "acme/a.1.sq"}, {Key: "other/a.1.sql"}, {Key: key + "x", Kind: storage.Manifest},
		{Key: key + "x", Kind: storage.Receipt}, {Key: key + "x", Kind: storage.Verification},
		{Key: key + ".gz", Part: 1},
	}
	for _, n := range neighbours {
		dst.put(t, n, Bytes(10))
	}
	if d, err := lister.Sweep(background(t), key); err != nil || d != storage.Absent {
		t.Errorf("sweep nothing: %v, %v", d, err)
	}
	for _, n := range []storage.Name{{Key: key}, {Key: key, Part: 1}, {Key: key, Part: 2}, {Key: key, Kind: storage.Manifest}, {Key: key, Kind: storage.Receipt}, {Key: key, Kind: storage.Verification}} {
		dst.put(t, n, Bytes(10))
	}
	left := len(neighbours)
	if dst.Crash != nil {
		dst.Crash(t, key)
		dst.Crash(t, key+".gz")
		left++
		dst.expectRemains(t, left+7)
	}
	if d, err := dst.Reopen(t).(storage.Lister).Sweep(background(t), key); err != nil || d == storage.Absent {
		t.Errorf("sweep: %v, %v", d, err)
	}
	dst.expectRemains(t, left)
	if d, err := lister.Sweep(background(t), key); err != nil || d != storage.Absent {
		t.Errorf("sweep again: %v, %v", d, err)
	}
	if _, err := lister.Sweep(background(t), "../acme"); !errors.Is(err, storage.ErrBadKey) {
		t.Errorf("sweep outside: %v", err)
	}
}

func driverIndex(t *testing.T, dst Destination) {
	indexer, ok := dst.Driver.(storage.Indexer)
	if !ok {
		t.Log("this driver keeps no index")
		return
	}
	if b, err := indexer.Index(background(t)); b != nil || err != nil {
		t.Fatalf("index of an empty destination: %q, %v", b, err)
	}
	for _, doc := range []string{`{"a":1}`, `{"a":1,"b":2}`, `{}`} {
		if err := indexer.SetIndex(background(t), []byte(doc)); err != nil {
			t.Fatal(err)
		}
		b, err := dst.Reopen(t).(storage.Indexer).Index(background(t))
		if string(b) != doc || err != nil {
			t.Errorf("index: %q, %v; want %q", b, err, doc)
		}
	}
	dst.expectRemains(t, 0)
}
