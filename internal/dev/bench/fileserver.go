package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// fileServer serves the stored file with a common file server.
type fileServer struct {
	*process
	name string
	url  string // of the file
	note string // why it is not nginx; empty: it is
	dir  string
}

func (s *fileServer) close() error {
	s.kill() // nothing is lost
	return os.RemoveAll(s.dir)
}

// filesKind begins the name of the test server for a folder.
const filesKind = "files="

// fileServer starts nginx, or Go's own file server if nginx is not installed.
func (p *apiPart) fileServer(ctx context.Context) (*fileServer, error) {
	dir, err := p.folder("files")
	if err != nil {
		return nil, err
	}
	if program := nginx(); program != "" {
		return p.startNginx(ctx, program, dir)
	}
	s := &fileServer{name: "Go's http.FileServer", dir: dir, note: "nginx is not on the PATH and not in build/bin (`make nginx`): Go's http.FileServer stands in."}
	cmd := exec.CommandContext(ctx, p.self, "-serve", filesKind+p.w.storage) //nolint:gosec // this program
	s.process, err = start(ctx, s.name, cmd, func(line string) bool {
		if !strings.HasPrefix(line, "http://") {
			return false
		}
		s.url = line + "/" + p.stored()
		return true
	})
	return s, err
}

// nginx returns the path of the program; empty: it is not installed.
func nginx() string {
	for _, name := range []string{"build/bin/nginx", "nginx", "/usr/sbin/nginx"} {
		if path, err := exec.LookPath(name); err == nil {
			if path, err = filepath.Abs(path); err == nil {
				return path
			}
		}
	}
	return ""
}

// nginxConfig is nginx's usual configuration for files, with all output in its own folder.
const nginxConfig = `daemon off;
master_process off;
pid %[1]s/pid;
error_log stderr notice;
events { worker_connections 512; }
http {
	access_log off;
	sendfile on;
	tcp_nopush on;
	client_body_temp_path %[1]s/body;
	proxy_temp_path %[1]s/proxy;
	fastcgi_temp_path %[1]s/fastcgi;
	uwsgi_temp_path %[1]s/uwsgi;
	scgi_temp_path %[1]s/scgi;
	server {
		listen 127.0.0.1:%[2]d;
		root %[3]s;
	}
}
`

func (p *apiPart) startNginx(ctx context.Context, program, dir string) (*fileServer, error) {
	var faults []error
	for range 5 { // another process may take a free port in between
		port, err := freePort(ctx)
		if err != nil {
			return nil, err
		}
		conf := filepath.Join(dir, "nginx.conf")
		if err := os.WriteFile(conf, fmt.Appendf(nil, nginxConfig, dir, port, p.w.storage), 0o600); err != nil {
			return nil, err
		}
		s := &fileServer{name: "nginx", dir: dir, url: "http://127.0.0.1:" + strconv.Itoa(port) + "/" + p.stored()}
		cmd := exec.CommandContext(ctx, program, "-p", dir, "-e", "stderr", "-c", conf) //nolint:gosec // found on the PATH
		if s.process, err = start(ctx, s.name, cmd, func(line string) bool { return strings.Contains(line, "event method") }); err == nil {
			return s, nil
		}
		faults = append(faults, err)
	}
	return nil, errors.Join(faults...)
}

func freePort(ctx context.Context) (int, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer func() { _ = l.Close() }()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(port)
}

// serveFiles serves a folder with Go's own server until ctx ends, and prints its address.
func serveFiles(ctx context.Context, dir string, stdout io.Writer) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "http://%s\n", l.Addr())
	srv := &http.Server{Handler: http.FileServer(http.Dir(dir)), ReadHeaderTimeout: 5 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
