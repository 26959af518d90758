package pgcluster

import (
	"bytes"
	"os"
)

// advice says how to get server binaries in this place: a checkout of pgcourier, a container, or
// another machine. read and getenv look at it.
func advice(read func(path string) ([]byte, error), getenv func(string) string) string {
	holds := func(path string) bool { _, err := read(path); return err == nil }
	module, err := read("go.mod")
	switch {
	case err == nil && bytes.HasPrefix(module, []byte("module github.com/pgcourier/pgcourier\n")):
		return "run `make postgres`"
	case holds("/.dockerenv"), holds("/run/.containerenv"), getenv("KUBERNETES_SERVICE_HOST") != "", getenv("container") != "":
		return "this container's image has none: use a server elsewhere, or an image with the package postgresql"
	default:
		return "install them, on Debian and Ubuntu by apt-get install --no-install-recommends postgresql"
	}
}

func adviceHere() string { return advice(os.ReadFile, os.Getenv) }
