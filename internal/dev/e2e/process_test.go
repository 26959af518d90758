package e2e_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pgcourier/pgcourier/internal/pgcluster/freeport"
)

// timeout bounds each wait for something outside this process. It only ends tests that fail, so it
// is generous: the machine may be busy.
const timeout = 5 * time.Minute

// longAckWait is the setting of tests in which no delivery and no lease may expire, however busy the
// machine is. A sweep that no advisory starts comes within one and a half times that, before timeout.
const longAckWait = "ACK_WAIT=2m"

// eventually polls ok, which reports a state outside this process. A poll has a cost, so polls
// become rarer with time.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline, pause := time.Now().Add(timeout), 2*time.Millisecond
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", timeout, what)
		}
		time.Sleep(pause) // between two looks
		pause = min(pause*5/4, 25*time.Millisecond)
	}
}

// worker is a running `pgcourier serve`.
type worker struct {
	t      *testing.T
	cmd    *exec.Cmd
	logs   logs
	tmp    string // its TMPDIR
	exited chan struct{}
	err    error // once exited
	killed bool
}

// start runs a worker on the platform and waits until it serves. The settings are
// PGCOURIER_ variables without their prefix.
func (p *platform) start(settings ...string) *worker {
	p.t.Helper()
	return p.startBinary("", settings...)
}

// startBinary is start for another binary than the test's own.
func (p *platform) startBinary(binary string, settings ...string) *worker {
	p.t.Helper()
	p.provision(settings...)
	return p.launch(binary, p.environ(settings...))
}

// launch runs a worker in an environment of its own and waits until it serves.
func (p *platform) launch(binary string, environ []string) *worker {
	p.t.Helper()
	w := p.begin(binary, environ)
	w.awaitLog("serving")
	return w
}

// begin runs a worker in an environment of its own and does not wait until it serves.
func (p *platform) begin(binary string, environ []string) *worker {
	p.t.Helper()
	if binary == "" {
		var err error
		if binary, err = exec.LookPath("pgcourier"); err != nil {
			p.t.Fatal(err)
		}
	}
	w := &worker{t: p.t, tmp: p.t.TempDir(), exited: make(chan struct{})}
	if p.user != nil {
		p.handOver(w.tmp)
	}
	w.cmd = exec.Command(binary, "serve")
	w.cmd.Env = append([]string{"PATH=/usr/bin:/bin", "TMPDIR=" + w.tmp}, environ...)
	w.cmd.Dir, w.cmd.Stdout, w.cmd.Stderr = w.tmp, &w.logs, &w.logs
	w.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true, Credential: p.user}
	w.cmd.WaitDelay = 10 * time.Second
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // Pdeathsig is sent when the thread that started the child ends
		defer runtime.UnlockOSThread()
		err := w.cmd.Start()
		started <- err
		if err == nil {
			w.err = w.cmd.Wait()
			close(w.exited)
		}
	}()
	if err := <-started; err != nil {
		p.t.Fatal(err)
	}
	p.workers = append(p.workers, w)
	return w
}

// handOver gives a folder of the test to the user of the next processes, and lets that user reach it.
func (p *platform) handOver(dir string) {
	p.t.Helper()
	err := os.Chmod(filepath.Dir(dir), 0o711) // #nosec G302 -- a folder of the test
	if err == nil {
		err = filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			return errors.Join(err, os.Lchown(path, int(p.user.Uid), int(p.user.Gid)))
		})
	}
	if err != nil {
		p.t.Fatal(err)
	}
}

func (w *worker) pid() int { return w.cmd.Process.Pid }

// awaitLog waits for a log line with this message.
func (w *worker) awaitLog(msg string) {
	w.t.Helper()
	eventually(w.t, "worker logs "+msg, func() bool {
		ended := w.ended()
		if w.logs.has(msg) {
			return true
		}
		if ended {
			w.t.Fatalf("the worker ended before it logged %q: %v\n%s", msg, w.err, w.logs.String())
		}
		return false
	})
}

func (w *worker) ended() bool {
	select {
	case <-w.exited:
		return true
	default:
		return false
	}
}

func (w *worker) signal(s syscall.Signal) {
	w.t.Helper()
	if err := w.cmd.Process.Signal(s); err != nil {
		w.t.Fatalf("signal %s: %v", s, err)
	}
}

// kill ends the worker as a crash would, and waits for its end.
func (w *worker) kill() {
	w.t.Helper()
	w.killed = true
	w.signal(syscall.SIGKILL)
	w.await()
}

// term asks the worker to end in order.
func (w *worker) term() { w.t.Helper(); w.signal(syscall.SIGTERM) }

// await waits for the worker's end.
func (w *worker) await() {
	w.t.Helper()
	select {
	case <-w.exited:
	case <-time.After(timeout):
		w.t.Fatalf("the worker did not end\n%s", w.logs.String())
	}
}

// freeAddress is an address on which nothing listens, and which is not given away again.
func freeAddress(t *testing.T) string {
	t.Helper()
	port, err := freeport.Get()
	if err != nil {
		t.Fatal(err)
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
}

// answers reports whether connections to an address are accepted.
func answers(addr string) bool {
	c, err := net.Dial("tcp", addr)
	if err == nil {
		_ = c.Close()
	}
	return err == nil
}

// peak returns the peak of the worker's resident memory in bytes.
func (w *worker) peak() int64 {
	w.t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", w.pid()))
	if err != nil {
		w.t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(v), " kB"), 10, 64)
			if err != nil {
				w.t.Fatal(err)
			}
			return kib << 10
		}
	}
	w.t.Fatal("no VmHWM")
	return 0
}

// notOnDisk are the beginnings of names of regular files that are not on disk.
var notOnDisk = regexp.MustCompile(`^(/sys/|/proc/|/memfd:|[^/])`)

// writtenFiles are the files on disk that the process has open for writing, including deleted ones.
// It excludes files that are open for reading: a program that starts opens its libraries.
func writtenFiles(pid int) []string {
	links, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	var out []string
	for _, l := range links {
		// The permissions of the link are the mode in which the file was opened (proc(5)).
		link, err := os.Lstat(l)
		if err != nil || link.Mode().Perm()&0o200 == 0 {
			continue // closed since, or only read
		}
		info, err := os.Stat(l)
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		name, err := os.Readlink(l)
		if err == nil && !notOnDisk.MatchString(name) {
			out = append(out, name)
		}
	}
	return out
}

// dumps lists the processes with pg_dump's environment for this database: pg_dump itself, its
// replacements in tests, and its children.
func (p *platform) dumps() []int {
	files, _ := filepath.Glob("/proc/[0-9]*/environ")
	var out []int
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue // it has ended
		}
		env := strings.Split(string(b), "\x00")
		isDump := func(v string) bool { return strings.HasPrefix(v, "PGAPPNAME=pgcourier dump ") }
		if slices.Contains(env, "PGDATABASE="+p.database) && slices.ContainsFunc(env, isDump) {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(f)))
			if err != nil {
				p.t.Fatal(err)
			}
			out = append(out, pid)
		}
	}
	return out
}

// logs collects what a worker writes. It is safe for concurrent use.
type logs struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logs) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// has reports whether a line with this message was logged.
func (l *logs) has(msg string) bool { return l.count(msg) > 0 }

func (l *logs) count(msg string) (n int) {
	text := " msg=" + msg + " " // of LOG_FORMAT=text
	if strings.Contains(msg, " ") {
		text = " msg=" + strconv.Quote(msg) + " "
	}
	for line := range strings.Lines(l.String()) {
		var v struct{ Msg string }
		if strings.Contains(line, text) || strings.Contains(line, msg) && json.Unmarshal([]byte(line), &v) == nil && v.Msg == msg {
			n++
		}
	}
	return n
}
