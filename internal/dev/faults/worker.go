package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

// worker is one pgcourier process with its own edges to the broker and to the control plane. It
// keeps its edges and folders over restarts.
type worker struct {
	w       *world
	number  int
	binary  string
	brokers []*edge // one for each node
	control *edge
	network *network // nil: the harness's own
	tmp     string
	data    string              // apart from tmp, in which nothing may be left
	cred    *syscall.Credential // nil: the harness's own user

	process *process
	starts  int
	names   []string // under which the ledger knows its processes
}

func (w *world) newWorker(number int) (*worker, error) {
	k := &worker{w: w, number: number, binary: w.lab.pgcourier, tmp: filepath.Join(w.dir, fmt.Sprintf("tmp-%d", number))}
	k.data = w.dataFolder(number)
	host := loopback
	if number == 0 && w.network != nil {
		k.network, host = w.network, networkHost
	}
	for _, n := range w.broker.nodes {
		if w.fault.platform || w.fault.embedded {
			break // it goes there directly
		}
		e, err := w.lab.edges.openAt(fmt.Sprintf("worker%d-%s", number, n.name), host, n.port)
		if err != nil {
			return nil, err
		}
		k.brokers = append(k.brokers, e)
	}
	var err error
	if k.control, err = w.lab.edges.openAt(fmt.Sprintf("worker%d-control", number), host, w.lab.control.Port); err != nil {
		return nil, err
	}
	if w.fault.unprivileged {
		k.cred = nobody()
	}
	for _, dir := range []string{k.tmp, k.data} {
		if err := os.Mkdir(dir, 0o777); err != nil { //nolint:gosec // the worker may run as another user
			return nil, err
		}
		if err := os.Chmod(dir, 0o777); err != nil { //nolint:gosec // the same, whatever the umask
			return nil, err
		}
	}
	return k, nil
}

// dataFolder is the DATA_DIR of a worker.
func (w *world) dataFolder(number int) string {
	return filepath.Join(w.dir, fmt.Sprintf("data-%d", number))
}

// start runs the worker with its fail points, and waits until it serves.
func (k *worker) start(ctx context.Context, failpoints string) error {
	k.starts++
	cmd := exec.Command(k.binary, "serve") //nolint:gosec,noctx // our own binary, ended by the world
	if k.network != nil {
		cmd = k.network.command(k.binary, "serve")
	}
	cmd.Dir = k.tmp
	cmd.Env = k.environment(failpoints)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: k.cred}
	p, err := startProcess(k.w.dir, fmt.Sprintf("worker%d-%d", k.number, k.starts), cmd)
	if err != nil {
		return err
	}
	k.process = p
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := p.said(ctx, `"msg":"serving"`); err != nil {
		return err
	}
	text, _ := p.output()
	name := servingAs.FindStringSubmatch(text)
	if name == nil {
		return fmt.Errorf("%s does not say its name", p.name)
	}
	k.names = append(k.names, name[1])
	return nil
}

// servingAs finds the name of a worker in the ledger.
var servingAs = regexp.MustCompile(`"msg":"serving".*"worker":"([^"]+)"`)

func (k *worker) environment(failpoints string) []string {
	var brokers []string
	for _, e := range k.brokers {
		brokers = append(brokers, "nats://worker:"+k.w.broker.workerPassword+"@"+e.address())
	}
	url := strings.Join(brokers, ",")
	switch {
	case k.w.fault.platform, k.w.fault.embedded && k.number > 0:
		url = k.w.broker.addresses("")
	case k.w.fault.embedded:
		url = ""
	}
	env := []string{
		"TMPDIR=" + k.tmp, "FAILPOINTS=" + failpoints, "PGCOURIER_DATA_DIR=" + k.data,
		"PGCOURIER_DATABASE_URL=" + through(k.w.lab.control.URL(controlDatabase), k.control),
		"PGCOURIER_PROJECT_QUERY=" + projectQuery,
		"PGCOURIER_NATS_URL=" + url,
		fmt.Sprintf("PGCOURIER_NATS_REPLICAS=%d", len(k.w.broker.nodes)),
		"PGCOURIER_STORAGE=file://" + k.w.storage,
		"PGCOURIER_ACK_WAIT=" + k.w.lab.options.ackWait.String(),
		"PGCOURIER_RETRY_BACKOFF=1s", "PGCOURIER_CONCURRENCY=2", "PGCOURIER_DRAIN_TIMEOUT=1m",
		maxWaiting, "PGCOURIER_LOG_FORMAT=json", "PGCOURIER_LOG_LEVEL=debug",
	}
	if k.w.fault.embedded {
		if k.number > 0 {
			env = append(env, "PGCOURIER_NATS_KEYS="+k.w.workerKeys())
		} else {
			env = append(env, fmt.Sprintf("PGCOURIER_NATS_PORT=%d", k.w.broker.nodes[0].port))
		}
	}
	if k.w.fault.platform {
		env = append(env, "PGCOURIER_NATS_KEYS="+k.w.workerKeys())
		if !k.w.fault.grouped { // one dump for each, so that there is something to share out
			env = append(env, "PGCOURIER_GROUP_MAX=1")
		}
	}
	return slices.Concat(env, k.w.fault.settings, k.w.settings)
}

// restart starts a fresh process after the former one has ended.
func (k *worker) restart(ctx context.Context) error {
	<-k.process.exited
	return k.start(ctx, "")
}

func (k *worker) cutBroker() {
	for _, e := range k.brokers {
		e.cut()
	}
}

func (k *worker) joinBroker() error {
	for _, e := range k.brokers {
		if err := e.join(); err != nil {
			return err
		}
	}
	return nil
}

// dropBrokerReplies drops the broker's answers.
func (k *worker) dropBrokerReplies() error {
	for _, e := range k.brokers {
		if err := e.dropReplies(); err != nil {
			return err
		}
	}
	return nil
}

func (k *worker) passBrokerReplies(ctx context.Context) error {
	for _, e := range k.brokers {
		if err := e.passReplies(ctx); err != nil {
			return err
		}
	}
	return nil
}

// close ends the process in an orderly way and returns its faults.
func (k *worker) close() error {
	var err error
	if k.process != nil && k.process.running() {
		_ = k.process.signal(syscall.SIGCONT) // it may be stopped
		if err = k.process.end(45 * time.Second); err != nil {
			err = fmt.Errorf("worker %d: %w", k.number, err)
		}
	}
	for _, e := range append(k.brokers, k.control) {
		e.cut()
	}
	return err
}

// through replaces a URL's host and port by an edge's.
func through(url string, e *edge) string {
	at := strings.LastIndex(url, "@")
	slash := strings.Index(url[at:], "/") + at
	return url[:at+1] + e.address() + url[slash:]
}

// nobody returns an unprivileged user, if the harness may become one.
func nobody() *syscall.Credential {
	const uid = 65534 // Debian's nobody
	if os.Geteuid() != 0 {
		return nil
	}
	return &syscall.Credential{Uid: uid, Gid: uid}
}
