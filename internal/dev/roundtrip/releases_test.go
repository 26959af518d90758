package roundtrip_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pgcourier/pgcourier/internal/libpq"
)

// fetched are the folders that make postgres-versions fills.
func fetched() ([]string, error) {
	root, err := os.Getwd()
	for err == nil {
		if _, err := os.Stat(filepath.Join(root, "go.mod")); err == nil {
			break
		}
		if root == filepath.Dir(root) {
			return nil, errors.New("the tests run outside of their module")
		}
		root = filepath.Dir(root)
	}
	dirs, globErr := filepath.Glob(filepath.Join(root, "build", "postgres", "*", "bin"))
	return dirs, errors.Join(err, globErr)
}

// atHand are the releases of a program, fetched and installed: the newest minor release of
// each major version, the oldest first.
func atHand(program string) ([]libpq.Version, error) {
	dirs, err := fetched()
	if err != nil {
		return nil, err
	}
	all, err := libpq.Discover(program, append(dirs, libpq.BinDirs(program)...))
	return slices.CompactFunc(all, func(a, b libpq.Version) bool { return a.Major == b.Major }), err
}

// pair is a source server and the client tools that export it.
type pair struct {
	server, client libpq.Version
}

// pairs combines each server with each client that is as new.
func pairs() ([]pair, error) {
	servers, err := atHand("postgres")
	if err != nil {
		return nil, err
	}
	clients, err := atHand("pg_dump")
	if err != nil {
		return nil, err
	}
	var out []pair
	for _, s := range servers {
		for _, c := range clients {
			if c.Major >= s.Major {
				out = append(out, pair{s, c})
			}
		}
	}
	return out, nil
}

// ends selects the oldest and the newest server, each with the oldest of its clients.
func ends(all []pair) []pair {
	if len(all) == 0 {
		return nil
	}
	newest := slices.IndexFunc(all, func(p pair) bool { return p.server.Major == all[len(all)-1].server.Major })
	return slices.Compact([]pair{all[0], all[newest]})
}

func (p pair) String() string {
	return fmt.Sprintf("server %s with client tools %s", p.server.Text, p.client.Text)
}

// selected are the pairs that are tried: all with -matrix, else the two ends.
func selected() ([]pair, error) {
	all, err := pairs()
	if err == nil && len(all) == 0 {
		err = errors.New("no PostgreSQL server at hand has client tools that are as new: run make postgres")
	}
	if err == nil && *matrix == "" {
		all = ends(all)
	}
	return all, err
}

// tell prints in one line what is selected and returns the exit status.
func tell() int {
	all, err := selected()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	words := make([]string, len(all))
	for i, p := range all {
		words[i] = p.String()
	}
	fmt.Println("PostgreSQL: " + strings.Join(words, ", "))
	return 0
}

// reachable returns the folder of a server's programs. The server does not run as root, and
// the checkout may lie in a folder that only root can enter: then it returns a copy.
// remove ends the copy.
func reachable(ctx context.Context, program string) (bin string, remove func() error, err error) {
	bin = filepath.Dir(program)
	if os.Geteuid() != 0 || open(bin) {
		return bin, func() error { return nil }, nil
	}
	parent, err := os.MkdirTemp("", "postgres-")
	if err != nil {
		return "", nil, err
	}
	remove = func() error { return os.RemoveAll(parent) }
	err = os.Chmod(parent, 0o755)
	if err == nil {
		var out []byte
		if out, err = exec.CommandContext(ctx, "cp", "-r", filepath.Dir(bin), filepath.Join(parent, "server")).CombinedOutput(); err != nil {
			err = fmt.Errorf("copy the server: %w: %s", err, out)
		}
	}
	return filepath.Join(parent, "server", "bin"), remove, err
}

// open reports whether every user may enter a folder.
func open(dir string) bool {
	for ; ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil || info.Mode()&fs.FileMode(0o001) == 0 {
			return false
		}
		if dir == filepath.Dir(dir) {
			return true
		}
	}
}
