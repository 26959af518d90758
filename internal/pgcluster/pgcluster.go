// Package pgcluster runs temporary PostgreSQL clusters for the demo and the tests: a
// real server on a free loopback port, with password authentication, in a folder that
// Stop removes.
package pgcluster

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/pgcourier/pgcourier/internal/pgcluster/freeport"
)

// ErrNoServer says that no PostgreSQL server binaries were found.
var ErrNoServer = errors.New("no PostgreSQL server binaries found (initdb, postgres)")

// Config describes a cluster.
type Config struct {
	// BinDir holds initdb and postgres. Default: the newest under
	// /usr/lib/postgresql, else the folder of initdb on the PATH.
	BinDir string
	// InMemory keeps the cluster in /dev/shm where 4 GiB are free there. Tests create and drop many
	// databases, of 300 files each: on ext4 a third of their processor time is the search for an
	// inode that was not deleted in the last seconds. Default: the cluster is in os.TempDir().
	InMemory bool
	// Settings are added to postgresql.conf, for instance {"shared_buffers": "64MB"}.
	// Durability is off by default: the cluster is thrown away.
	Settings map[string]string
	// Wrap, if not nil, changes how the server is started, for instance into a sandbox: it
	// is told the user to run as (0 and 0: the caller) and the folder it needs. The server
	// then listens on a socket in that folder only.
	Wrap func(cmd *exec.Cmd, uid, gid uint32, folder string) error
}

// Cluster is a running server. Its superuser is "postgres". The exported fields are set by Start
// and stay as they are.
type Cluster struct {
	Folder string // holds all that is the cluster's; Stop removes it
	BinDir string // of the server's and the clients' binaries
	Major  int    // the server's version
	Port   int    // on 127.0.0.1

	password string
	cred     *syscall.Credential
	wrap     func(cmd *exec.Cmd, uid, gid uint32, folder string) error // Config.Wrap
	lock     *os.File                                                  // says that the folder in memory is in use; nil elsewhere
	server   *server                                                   // nil while it is halted
}

// Start makes a cluster and waits until it accepts connections. The caller calls Stop; a
// server ends by itself when its starter is killed, and leaves its folder. The
// server refuses to run as root, so root starts it as the user "postgres".
func Start(ctx context.Context, c Config) (*Cluster, error) {
	bin := c.BinDir
	if bin == "" {
		var err error
		if bin, err = FindBin(); err != nil {
			return nil, err
		}
	}
	cred, err := credential()
	if err != nil {
		return nil, err
	}
	dir, lock, err := folder(c)
	if err != nil {
		return nil, fmt.Errorf("make cluster folder: %w", err)
	}
	cl := &Cluster{Folder: dir, BinDir: bin, password: rand.Text(), cred: cred, wrap: c.Wrap, lock: lock}
	if err := cl.init(ctx, c); err != nil {
		return nil, errors.Join(err, cl.Stop())
	}
	return cl, nil
}

const prefix = "pgcluster-"

// folder makes the cluster's folder. The lock, if it is not nil, is to be closed after its removal.
func folder(c Config) (path string, lock *os.File, err error) {
	if c.InMemory {
		return memoryFolder()
	}
	parent := ""
	if c.Wrap != nil && len(os.TempDir()) > longestParent {
		parent = "/tmp"
	}
	path, err = os.MkdirTemp(parent, prefix)
	return path, nil, err
}

func (c *Cluster) init(ctx context.Context, config Config) error {
	if err := os.WriteFile(c.passfile(), []byte("*:*:*:*:"+c.password+"\n"), 0o600); err != nil {
		return err
	}
	if err := os.Mkdir(c.sockets(), 0o755); err != nil { //nolint:gosec // within a folder of mode 0700
		return err
	}
	pwfile := filepath.Join(c.Folder, "password")
	if err := os.WriteFile(pwfile, []byte(c.password), 0o600); err != nil {
		return err
	}
	if c.cred != nil {
		for _, p := range []string{c.Folder, pwfile, c.sockets()} {
			if err := os.Chown(p, int(c.cred.Uid), int(c.cred.Gid)); err != nil {
				return err
			}
		}
	}
	if err := c.run(ctx, "initdb", "-D", c.data(), "-U", "postgres", "--auth=scram-sha-256",
		"--pwfile="+pwfile, "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"); err != nil {
		return err
	}
	if err := os.Remove(pwfile); err != nil {
		return err
	}
	version, err := os.ReadFile(filepath.Join(c.data(), "PG_VERSION"))
	if err != nil {
		return err
	}
	if c.Major, err = strconv.Atoi(strings.TrimSpace(string(version))); err != nil {
		return fmt.Errorf("the cluster's version: %w", err)
	}
	conf := map[string]string{
		"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off",
		"listen_addresses": "'127.0.0.1'", "unix_socket_directories": "''",
		"max_connections": "200", "max_wal_size": "'4GB'", "autovacuum": "off",
	}
	if config.InMemory {
		conf["max_wal_size"] = "'256MB'"
	}
	if config.Wrap != nil {
		conf["listen_addresses"], conf["unix_socket_directories"] = "''", "'"+c.sockets()+"'"
	}
	for k, v := range config.Settings {
		conf[k] = v
	}
	f, err := os.OpenFile(filepath.Join(c.data(), "postgresql.auto.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	for k, v := range conf {
		fmt.Fprintf(f, "%s = %s\n", k, v)
	}
	if err := f.Close(); err != nil {
		return err
	}
	if config.Wrap != nil {
		c.Port = 5432 // only the name of a file
		return c.Resume(ctx)
	}
	// A free port can be taken between the look and the bind: look again.
	for range 5 {
		if c.Port, err = freeport.Get(); err != nil {
			return err
		}
		if err = c.Resume(ctx); err == nil || ctx.Err() != nil {
			return err
		}
	}
	return err
}

// Stop ends the server and removes its folder.
func (c *Cluster) Stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), haltTimeout)
	defer cancel()
	err := errors.Join(c.Halt(ctx, "immediate"), os.RemoveAll(c.Folder))
	if c.lock != nil {
		err = errors.Join(err, c.lock.Close())
	}
	return err
}

// URL is the connection string of the superuser for one database. It holds the password.
func (c *Cluster) URL(database string) string {
	if c.wrap != nil {
		return fmt.Sprintf("postgres://postgres:%s@/%s?host=%s&port=%d&sslmode=disable", c.password, url.PathEscape(database), url.PathEscape(c.sockets()), c.Port)
	}
	u := url.URL{
		Scheme: "postgres", User: url.UserPassword("postgres", c.password),
		Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(c.Port)), Path: "/" + database,
		RawQuery: "sslmode=disable",
	}
	return u.String()
}

// Client returns a command that runs one of PostgreSQL's client tools on a database of the
// cluster, as the superuser. The password is in a file of mode 0600, not in the
// environment.
func (c *Cluster) Client(ctx context.Context, database, tool string, args ...string) (*exec.Cmd, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(c.BinDir, tool), args...) //nolint:gosec // the caller's own arguments
	cmd.Env = []string{
		"LC_ALL=C", "PGHOST=127.0.0.1", "PGPORT=" + strconv.Itoa(c.Port), "PGUSER=postgres",
		"PGDATABASE=" + database, "PGPASSFILE=" + c.passfile(), "PGSSLMODE=disable",
	}
	return cmd, nil
}

// passfile is written once: a client that is starting must never find it empty.
func (c *Cluster) passfile() string { return filepath.Join(c.Folder, "passfile") }

// longestParent leaves room for a socket's name, which has at most 107 bytes.
const longestParent = 60

// sockets is a folder that holds nothing but the server's socket.
func (c *Cluster) sockets() string { return filepath.Join(c.Folder, "s") }

func (c *Cluster) data() string { return filepath.Join(c.Folder, "data") }

// run executes one of the server's tools as the cluster's user.
func (c *Cluster) run(ctx context.Context, tool string, args ...string) error {
	cmd := exec.CommandContext(ctx, filepath.Join(c.BinDir, tool), args...) //nolint:gosec // PostgreSQL's own tools
	cmd.Dir = c.Folder
	cmd.Env = []string{"PATH=" + c.BinDir + ":/usr/bin:/bin", "LC_ALL=C", "TZ=UTC"}
	// Its own session, so that the terminal's Ctrl-C reaches only the caller.
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: c.cred, Setsid: true}
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", tool, err, strings.TrimSpace(string(text)))
	}
	return nil
}

// FindBin returns the folder of the newest PostgreSQL server binaries. ErrNoServer: there
// are none.
func FindBin() (string, error) {
	dirs, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil {
		return "", err
	}
	slices.SortFunc(dirs, func(a, b string) int { return major(b) - major(a) })
	if p, err := exec.LookPath("initdb"); err == nil {
		dirs = append(dirs, filepath.Dir(p))
	}
	for _, d := range dirs {
		if _, err := os.Stat(filepath.Join(d, "initdb")); err == nil {
			return d, nil
		}
	}
	return "", fmt.Errorf("%w: %s", ErrNoServer, adviceHere())
}

func major(bin string) int {
	n, _ := strconv.Atoi(filepath.Base(filepath.Dir(bin)))
	return n
}

func credential() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil //nolint:nilnil // no credential means: run as the caller
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil, fmt.Errorf("the PostgreSQL server refuses to run as root: %w", err)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, err
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}
