package server

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	natsd "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/pgcourier/pgcourier/internal/broker"
)

// ErrNoServer says that no embedded server runs on the data folder.
var ErrNoServer = errors.New("no embedded broker is running on this data folder")

// RandomPort asks Start for any free port.
const RandomPort = natsd.RANDOM_PORT

const (
	urlFile     = "nats.url"
	storeFolder = "broker"
	// readyTimeout bounds the start, including the recovery of the store.
	readyTimeout = 30 * time.Second
	readyPoll    = 50 * time.Millisecond
	loopback     = "127.0.0.1"
)

// Config describes the embedded broker.
type Config struct {
	// DataDir is the folder of the store (DataDir/broker, mode 0700) and of the file with the server's
	// URL (DataDir/nats.url, mode 0600). It is created if missing.
	DataDir string
	// Host is the address to listen on. Default: 127.0.0.1. An address that is not a loopback address
	// requires TLS.
	Host string
	// Port to listen on. Default: 4222. RandomPort: any free one.
	Port int
	// CertFile and KeyFile are the server's certificate and key. Default: no TLS.
	CertFile string
	KeyFile  string
	// ClientCAFile is a PEM bundle. Each client must then have a certificate from one of these
	// authorities. It requires CertFile. Default: clients need no certificate.
	ClientCAFile string
	// Logger gets the server's warnings and errors, and other messages at debug level. Default:
	// slog.Default().
	Logger *slog.Logger
}

// Server is a running embedded broker. Its methods are safe for concurrent use.
type Server struct {
	config Config // with the actual port
	store  string
	log    *slog.Logger
	admin  nkeys.KeyPair
	url    string
	lock   *os.File
	file   string
	end    func() error

	restarting sync.Mutex // held while the server stops or starts
	over       bool       // Shutdown was called: no restart

	mu  sync.Mutex
	srv *natsd.Server // nil: none runs
}

// running returns the server; nil: none runs.
func (s *Server) running() *natsd.Server {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.srv
}

func (s *Server) set(srv *natsd.Server) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.srv = srv
}

// Start starts nats-server with JetStream in this process and waits until it accepts connections.
// The server writes every message to disk before it acknowledges it (SyncAlways: nats-server's
// default could lose up to two minutes at a power failure). It does not handle the process's
// signals. ErrStoreLocked: another server uses the folder. The caller calls Shutdown.
//
// The server accepts only Users, by their keys in KeysDir. Start generates missing keys
// (EnsureKeys). The connection of ConnectAdmin has all rights; its key is new at each start and
// never leaves this process.
func Start(c Config) (*Server, error) {
	log := c.Logger
	if log == nil {
		log = slog.Default()
	}
	store := filepath.Join(c.DataDir, storeFolder)
	if err := os.MkdirAll(store, 0o700); err != nil {
		return nil, fmt.Errorf("make broker store: %w", err)
	}
	// #nosec G302 -- a folder needs its search bit; 0700 is the owner's alone.
	if err := os.Chmod(store, 0o700); err != nil {
		return nil, fmt.Errorf("close broker store to others: %w", err)
	}
	lock, err := lockFile(filepath.Join(store, "lock"))
	if err != nil {
		return nil, err
	}
	if err := takeOver(store); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	s := &Server{config: c, store: store, log: log, lock: lock, file: filepath.Join(c.DataDir, urlFile)}
	if s.srv, err = s.start(c, store, log); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	if at, ok := s.srv.Addr().(*net.TCPAddr); ok {
		s.config.Port = at.Port
	}
	s.end = sync.OnceValue(s.shutdown)
	if err := writeURL(s.file, s.url); err != nil {
		return nil, errors.Join(err, s.Shutdown())
	}
	return s, nil
}

// takeOver moves the store of a server without users, which is under the name of the server's only
// account, to the name of the account with the streams.
func takeOver(store string) error {
	root := filepath.Join(store, natsd.JetStreamStoreDir)
	nameless, ours := filepath.Join(root, natsd.DEFAULT_GLOBAL_ACCOUNT), filepath.Join(root, mainAccount)
	if _, err := os.Stat(ours); !errors.Is(err, fs.ErrNotExist) {
		return err //nolint:wrapcheck // nil: it exists already
	}
	if err := os.Rename(nameless, ours); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("give the broker's store to its account: %w", err)
	}
	return nil
}

func (s *Server) start(c Config, store string, log *slog.Logger) (*natsd.Server, error) {
	opts, err := s.options(c, store, log)
	if err != nil {
		return nil, fmt.Errorf("configure embedded broker: %w", err)
	}
	srv, err := run(opts, readyTimeout, log)
	if err != nil {
		return nil, err
	}
	if s.url != "" { // after a restart
		return srv, nil
	}
	if s.url, err = clientURL(srv, opts); err != nil {
		srv.Shutdown()
		srv.WaitForShutdown()
		return nil, err
	}
	return srv, nil
}

// options returns the configuration with the same users and rights, in the same form, as for an
// external server.
func (s *Server) options(c Config, store string, log *slog.Logger) (*natsd.Options, error) {
	keys, err := EnsureKeys(KeysDir(c.DataDir), Users(), log)
	if err != nil {
		return nil, err
	}
	if s.admin == nil { // after a restart, connections still use the key
		if s.admin, err = nkeys.CreateUser(); err != nil {
			return nil, err
		}
	}
	if keys[UserAdmin], err = s.admin.PublicKey(); err != nil {
		return nil, err
	}
	text, err := Configuration(keys, nil)
	if err != nil {
		return nil, err
	}
	opts := &natsd.Options{}
	if err := opts.ProcessConfigString(text); err != nil {
		return nil, err
	}
	opts.ServerName = "pgcourier"
	opts.Host, opts.Port = cmp.Or(c.Host, loopback), cmp.Or(c.Port, natsd.DEFAULT_PORT)
	opts.JetStream, opts.StoreDir, opts.SyncAlways = true, store, true
	opts.NoSigs, opts.NoLog, opts.DisableJetStreamBanner = true, true, true
	// A client that disappeared without closing its connection is noticed after half a minute instead
	// of four. Until then its waiting pull requests could receive messages.
	opts.PingInterval, opts.MaxPingsOut = 10*time.Second, 2
	return opts, secureServer(opts, c)
}

func run(opts *natsd.Options, timeout time.Duration, log *slog.Logger) (*natsd.Server, error) {
	srv, err := natsd.NewServer(opts)
	if err != nil {
		return nil, fmt.Errorf("configure embedded broker: %w", err)
	}
	l := &serverLog{log: log, failed: make(chan string, 1)}
	srv.SetLoggerV2(l, false, false, false)
	go srv.Start()
	deadline := time.Now().Add(timeout)
	for !srv.ReadyForConnections(readyPoll) {
		select {
		case why := <-l.failed:
			err = fmt.Errorf("start embedded broker: %s", why)
		default:
			if time.Now().Before(deadline) {
				continue
			}
			err = errors.New("start embedded broker: not ready in time")
		}
		srv.Shutdown()
		srv.WaitForShutdown()
		return nil, err
	}
	return srv, nil
}

// ClientURL returns the URL for clients, for instance nats://127.0.0.1:4222.
func (s *Server) ClientURL() string { return s.url }

// InProcessConn returns a connection to the server that does not use the network.
func (s *Server) InProcessConn() (net.Conn, error) {
	srv := s.running()
	if srv == nil {
		return nil, errStopped
	}
	conn, err := srv.InProcessConn()
	if err != nil {
		return nil, fmt.Errorf("connect to the embedded broker: %w", err)
	}
	return conn, nil
}

// ConnectAdmin returns a connection within this process with all rights in the account of the
// streams. The caller closes it.
func (s *Server) ConnectAdmin(log *slog.Logger) (*nats.Conn, error) {
	return broker.Connect(broker.Config{Server: s, Name: "pgcourier-admin", InboxPrefix: UserAdmin.InboxPrefix(), Logger: log, NKey: s.admin})
}

// Shutdown stops the server, waits until its store is closed, removes the URL file and releases the
// lock. It is idempotent: later calls return the first result.
func (s *Server) Shutdown() error { return s.end() }

func (s *Server) shutdown() error {
	// The file is removed first, so that new clients are not sent to a stopping server.
	err := os.Remove(s.file)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	s.restarting.Lock()
	defer s.restarting.Unlock()
	s.over = true
	if srv := s.running(); srv != nil {
		srv.Shutdown()
		srv.WaitForShutdown()
	}
	return errors.Join(err, s.lock.Close())
}

// writeURL writes by rename, so that a reader never sees a partial line.
func writeURL(file, url string) error {
	tmp := file + ".new"
	if err := os.WriteFile(tmp, []byte(url+"\n"), 0o600); err != nil {
		return fmt.Errorf("write %s: %w", urlFile, err)
	}
	if err := os.Rename(tmp, file); err != nil {
		return fmt.Errorf("write %s: %w", urlFile, err)
	}
	return nil
}

// URL returns the URL of the embedded server on a data folder, in this or in another process.
// ErrNoServer: there is none. After a crash the file may still name a stopped server; connecting to
// it then fails with ErrUnreachable.
func URL(dataDir string) (string, error) {
	b, err := os.ReadFile(filepath.Join(dataDir, urlFile)) // #nosec G304 -- the operator's own folder
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%w: %s", ErrNoServer, dataDir)
	}
	if err != nil {
		return "", fmt.Errorf("find embedded broker: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}
