// Package pgbouncer runs PgBouncer in front of a server, for tests.
package pgbouncer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/pgcourier/pgcourier/internal/pgcluster/freeport"
)

// ErrMissing says that PgBouncer is not installed.
var ErrMissing = errors.New("pgbouncer is not installed: run `make pgbouncer`, or apt-get install --no-install-recommends pgbouncer")

// Config describes a pooler.
type Config struct {
	// Server is the URL of the server behind the pooler, with a password. Clients need none.
	Server string
	// Mode is the pool_mode.
	Mode string
	// Settings are added to the section pgbouncer.
	Settings map[string]string
}

// Pooler is a running PgBouncer.
type Pooler struct {
	server *url.URL
	folder string
	port   int
	cmd    *exec.Cmd
}

// Start starts a pooler and waits until it accepts connections. The caller calls Stop. PgBouncer
// refuses to run as root, so root starts it as the user "postgres". ErrMissing: it is not
// installed.
func Start(ctx context.Context, c Config) (*Pooler, error) {
	binary, err := exec.LookPath("pgbouncer")
	if err != nil {
		if binary = "/usr/sbin/pgbouncer"; !exists(binary) {
			return nil, ErrMissing
		}
	}
	p := &Pooler{}
	if p.server, err = url.Parse(c.Server); err != nil {
		return nil, errors.New("the server's URL is not valid")
	}
	if p.port, err = freeport.Get(); err != nil {
		return nil, err
	}
	if p.folder, err = os.MkdirTemp("", "pgbouncer-"); err != nil {
		return nil, err
	}
	cred, err := p.write(c)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(p.folder))
	}
	log, err := os.Create(filepath.Join(p.folder, "log"))
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(p.folder))
	}
	defer func() { _ = log.Close() }() // the pooler has its own
	p.cmd = &exec.Cmd{Path: binary, Args: []string{binary, p.file()}, Stdout: log, Stderr: log, SysProcAttr: &syscall.SysProcAttr{Credential: cred}}
	if err := p.cmd.Start(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(p.folder))
	}
	if err := p.ready(ctx); err != nil {
		text, _ := os.ReadFile(log.Name())
		return nil, errors.Join(fmt.Errorf("pgbouncer: %w: %s", err, text), p.Stop())
	}
	return p, nil
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

func (p *Pooler) file() string { return filepath.Join(p.folder, "pgbouncer.ini") }

// write writes the configuration, readable for the user that the pooler runs as.
func (p *Pooler) write(c Config) (*syscall.Credential, error) {
	password, _ := p.server.User.Password()
	var b strings.Builder
	fmt.Fprintf(&b, "[databases]\n* = host=%s port=%s user=%s password='%s'\n[pgbouncer]\n", p.server.Hostname(), p.server.Port(), p.server.User.Username(), password)
	fmt.Fprintf(&b, "listen_addr = 127.0.0.1\nlisten_port = %d\nunix_socket_dir =\nauth_type = any\npool_mode = %s\n", p.port, c.Mode)
	for k, v := range c.Settings {
		fmt.Fprintf(&b, "%s = %s\n", k, v)
	}
	if err := os.WriteFile(p.file(), []byte(b.String()), 0o600); err != nil || os.Geteuid() != 0 {
		return nil, err
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil, err
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, err
	}
	err = errors.Join(os.Chown(p.folder, int(uid), int(gid)), os.Chown(p.file(), int(uid), int(gid)))
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, err
}

func (p *Pooler) address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(p.port)) }

// ready waits until the port is open.
func (p *Pooler) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	step := time.NewTicker(10 * time.Millisecond)
	defer step.Stop()
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", p.address())
		if err == nil {
			return conn.Close()
		}
		select {
		case <-ctx.Done():
			return err
		case <-step.C:
		}
	}
}

// URL returns the connection string of one database behind the pooler.
func (p *Pooler) URL(database string) string {
	u := url.URL{Scheme: "postgres", User: url.User(p.server.User.Username()), Host: p.address(), Path: "/" + database, RawQuery: "sslmode=disable"}
	return u.String()
}

// Stop ends the pooler and removes its folder.
func (p *Pooler) Stop() error {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait() // it was killed
	return os.RemoveAll(p.folder)
}
