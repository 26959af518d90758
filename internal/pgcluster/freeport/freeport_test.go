package freeport_test

import (
	"fmt"
	"net"
	"testing"

	"github.com/pgcourier/pgcourier/internal/pgcluster/freeport"
)

func ExampleGet() {
	port, err := freeport.Get()
	fmt.Println(port >= 10000, err)
	// Output: true <nil>
}

func TestAPortIsOutsideOfTheKernelsRange(t *testing.T) {
	t.Parallel()
	for range 100 {
		if port, err := freeport.Below(10010); err != nil || port < 10000 || port >= 10010 {
			t.Fatalf("port %d, %v", port, err)
		}
	}
	if port, err := freeport.Below(1024); err != nil || port <= 0 {
		t.Errorf("port %d, %v where there is no other range", port, err)
	}
}

func TestATakenPortIsNotGiven(t *testing.T) {
	t.Parallel()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:10020")
	if err == nil {
		defer func() { _ = l.Close() }()
	} // else another process has taken it, which is fine
	for range 100 {
		if port, err := freeport.Below(10022); err != nil || port == 10020 {
			t.Fatalf("port %d, %v", port, err)
		}
	}
}

func TestAPortIsGivenOnce(t *testing.T) {
	t.Parallel()
	given := map[int]bool{}
	for range 200 {
		port, err := freeport.Get()
		if err != nil || given[port] || freeport.Reserve(port) {
			t.Fatalf("port %d, %v: given before %t, or to be given again", port, err, given[port])
		}
		given[port] = true
	}
}
