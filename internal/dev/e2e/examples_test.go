package e2e_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pgcourier/pgcourier/internal/broker/server"
)

// The examples work: two gateways request, two consumers receive outcomes, on a real broker with a
// real worker.
func TestTheExamplesRun(t *testing.T) {
	t.Parallel()
	p := setup(t)
	p.start()
	examples := filepath.Join(root, "docs", "examples")
	key := func(u server.User) []string {
		return []string{"NATS_URL=" + p.broker.ClientURL(), "NATS_NKEY=" + server.KeyFile(p.keys, u)}
	}
	consumers := map[string]*exampleConsumer{
		"go":   startConsumer(t, "", key(server.UserOperator), buildExample(t, "consumer-go")),
		"node": startConsumer(t, installExample(t, filepath.Join(examples, "consumer-node")), key(server.UserOperator), "node", "consumer.js"),
	}
	type outcome struct {
		RequestID string            `json:"request_id"`
		ProjectID string            `json:"project_id"`
		Format    string            `json:"format"`
		Code      string            `json:"code"`
		Metadata  map[string]string `json:"metadata"`
	}
	gateway := func(folder string, args ...string) (o outcome, err error) {
		ctx, cancel := context.WithTimeout(t.Context(), timeout)
		defer cancel()
		cmd := exec.CommandContext(ctx, args[0], args[1:]...)
		cmd.Dir, cmd.Env = folder, append(os.Environ(), key(server.UserGateway)...)
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		err = cmd.Run()
		p.outcomes++
		if jsonErr := json.Unmarshal(out.Bytes(), &o); jsonErr != nil {
			t.Fatalf("%v printed %q and %q: %v, %v", args, out.String(), errs.String(), jsonErr, err)
		}
		return o, err
	}
	goGateway, nodeFolder := buildExample(t, "gateway-go"), installExample(t, filepath.Join(examples, "gateway-node"))
	var ids []string
	for _, c := range []struct {
		folder string
		args   []string
		format string
		code   string
	}{
		{"", []string{goGateway, "globex"}, "sql", ""},
		{nodeFolder, []string{"node", "gateway.js", "globex"}, "custom", ""},
		{"", []string{goGateway, "nobody"}, "", "project_not_found"},
		{nodeFolder, []string{"node", "gateway.js", "nobody"}, "", "project_not_found"},
	} {
		o, err := gateway(c.folder, c.args...)
		if o.Code != c.code || o.Format != c.format || o.ProjectID != c.args[len(c.args)-1] || !strings.HasPrefix(o.Metadata["ticket"], "OPS-") {
			t.Errorf("%v printed %+v", c.args, o)
		}
		exit, failed := errors.AsType[*exec.ExitError](err)
		if failed != (c.code != "") || failed && exit.ExitCode() != 1 {
			t.Errorf("%v: %v", c.args, err)
		}
		ids = append(ids, o.RequestID)
	}
	for name, c := range consumers {
		told := map[string]int{}
		for range ids {
			line := c.next(t)
			told[line.ID]++
			if line.Outcome != "completed" && line.Outcome != "failed" || line.Outcome == "completed" && (line.Bytes <= 0 || !strings.HasPrefix(line.At, "file:globex/")) {
				t.Errorf("the consumer in %s printed %+v", name, line)
			}
		}
		for _, id := range ids {
			if told[id] != 1 {
				t.Errorf("the consumer in %s got %s %d times", name, id, told[id])
			}
		}
		c.end(t)
	}
}

// The locks of the examples name no registry: the installing machine uses its own.
func TestTheExamplesLocksNameNoRegistry(t *testing.T) {
	t.Parallel()
	locks, err := filepath.Glob(filepath.Join(root, "docs", "examples", "*", "package-lock.json"))
	if err != nil || len(locks) != 3 {
		t.Fatalf("locks are %q (%v)", locks, err)
	}
	for _, f := range locks {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if text := string(b); strings.Contains(text, `"resolved"`) || strings.Contains(text, "://") || !strings.Contains(text, `"integrity"`) {
			t.Errorf("%s names a registry, or has no integrity", f)
		}
	}
}

func buildExample(t *testing.T, name string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", file, "./docs/examples/"+name)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", name, err, out)
	}
	return file
}

// installExample copies an example in Node and installs the packages of its lock file.
func installExample(t *testing.T, from string) string {
	t.Helper()
	for _, tool := range []string{"node", "npm"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("%s is missing: run `make node`, or: sudo apt-get install --no-install-recommends nodejs npm", tool)
		}
	}
	folder := filepath.Join(t.TempDir(), filepath.Base(from))
	if err := os.CopyFS(folder, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "npm", "ci", "--prefer-offline", "--no-audit", "--no-fund")
	cmd.Dir = folder
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("npm ci in %s: %v\n%s", filepath.Base(from), err, out)
	}
	return folder
}

// exampleConsumer is a running example that prints one line for each outcome.
type exampleConsumer struct {
	cmd   *exec.Cmd
	lines chan told
	errs  *logs
	done  chan error
}

type told struct {
	ID      string `json:"id"`
	Project string `json:"project"`
	Outcome string `json:"outcome"`
	Bytes   int64  `json:"bytes"`
	At      string `json:"at"`
	Code    string `json:"code"`
}

func startConsumer(t *testing.T, folder string, environ []string, args ...string) *exampleConsumer {
	t.Helper()
	c := &exampleConsumer{cmd: exec.Command(args[0], args[1:]...), lines: make(chan told, 100), errs: &logs{}, done: make(chan error, 1)}
	c.cmd.Dir, c.cmd.Env, c.cmd.Stderr = folder, append(os.Environ(), environ...), c.errs
	out, err := c.cmd.StdoutPipe()
	if err == nil {
		err = c.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	var reading sync.WaitGroup
	reading.Go(func() {
		for s := bufio.NewScanner(out); s.Scan(); {
			var line told
			if err := json.Unmarshal(s.Bytes(), &line); err != nil {
				line.Outcome = s.Text()
			}
			c.lines <- line
		}
	})
	go func() { reading.Wait(); c.done <- c.cmd.Wait() }()
	t.Cleanup(func() { _ = c.cmd.Process.Kill() }) // it has ended, unless the test failed
	eventually(t, strings.Join(args, " ")+" listens", func() bool {
		select {
		case err := <-c.done:
			t.Fatalf("%v ended: %v\n%s", args, err, c.errs.String())
		default:
		}
		return strings.Contains(c.errs.String(), "listening")
	})
	return c
}

func (c *exampleConsumer) next(t *testing.T) told {
	t.Helper()
	select {
	case line := <-c.lines:
		return line
	case <-time.After(timeout):
		t.Fatalf("the consumer printed nothing\n%s", c.errs.String())
	}
	return told{}
}

// end stops the consumer in order, and checks that it printed nothing more.
func (c *exampleConsumer) end(t *testing.T) {
	t.Helper()
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-c.done:
		if err != nil {
			t.Errorf("the consumer ended with %v\n%s", err, c.errs.String())
		}
	case <-time.After(timeout):
		t.Fatal("the consumer did not end")
	}
	if n := len(c.lines); n > 0 {
		t.Errorf("the consumer printed %d more lines", n)
	}
}
