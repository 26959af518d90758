package e2e_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// The sinks.
const (
	sinkArguments   = "argument lists"
	sinkEnvironment = "environments"
	sinkLogs        = "logs"
	sinkCommands    = "commands' output"
	sinkStreams     = "streams"
	sinkSubjects    = "plain subjects"
	sinkLedger      = "ledger"
	sinkSessions    = "pg_stat_activity"
	sinkServerLog   = "PostgreSQL's log"
	sinkStorage     = "stored files and manifests"
	sinkBucket      = "objects, names and metadata"
	sinkChat        = "chat"
	sinkFolders     = "data and temporary folders"
	sinkMetrics     = "metrics and health"
	sinkTraces      = "traces"
	sinkMails       = "mails"
	sinkWebhooks    = "webhooks' bodies"
)

// processes searches the arguments and the environment of every process. A process of the program
// own holds the secrets that it got, unless strict; in a sandbox it replaces another program.
func (c *canaries) processes(own string, strict bool) {
	links, _ := filepath.Glob("/proc/[0-9]*/exe")
	for _, link := range links {
		dir := filepath.Dir(link)
		exe, err := os.Readlink(link)
		if err != nil {
			continue // the kernel's own, or ended
		}
		arguments, err := os.ReadFile(filepath.Join(dir, "cmdline"))
		if err != nil {
			continue
		}
		// Last: a child between fork and exec shows the values of its parent.
		environment, err := os.ReadFile(filepath.Join(dir, "environ"))
		where := fmt.Sprintf("process %s (%.80q)", filepath.Base(dir), arguments)
		c.search(sinkArguments, where, arguments)
		if err == nil && (strict || exe != own || bytes.HasPrefix(arguments, []byte("pgcourier-sandbox"))) {
			c.search(sinkEnvironment, where, environment)
		}
	}
}

// watchProcesses repeats it until the returned function is called.
func (c *canaries) watchProcesses(own string, strict bool) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		every := time.Second // each look reads the memory of all processes of the machine
		if *everyCanary {
			every = 200 * time.Millisecond
		}
		for tick := time.NewTicker(every); ; {
			select {
			case <-ctx.Done():
				tick.Stop()
				return
			case <-tick.C:
				c.processes(own, strict)
			}
		}
	})
	return sync.OnceFunc(func() { cancel(); done.Wait() })
}

// listen searches each message on any subject.
func (c *canaries) listen(nc *nats.Conn) {
	sub, err := nc.Subscribe(">", func(m *nats.Msg) {
		c.search(sinkSubjects, m.Subject, []byte(m.Subject+"\n"+m.Reply+"\n"+headerText(m.Header)+string(m.Data)))
	})
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = sub.Unsubscribe() })
}

func headerText[H ~map[string][]string](h H) string {
	var b strings.Builder
	for name, values := range h {
		fmt.Fprintf(&b, "%s: %s\n", name, strings.Join(values, ", "))
	}
	return b.String()
}

// streams searches every message of every stream, and the streams' own settings.
func (c *canaries) streams(ctx context.Context, js jetstream.JetStream) {
	all := js.ListStreams(ctx)
	for info := range all.Info() {
		c.search(sinkStreams, info.Config.Name, fmt.Appendf(nil, "%+v", info.Config))
		s, err := js.Stream(ctx, info.Config.Name)
		if err != nil {
			c.t.Fatal(err)
		}
		for seq := info.State.FirstSeq; seq <= info.State.LastSeq; seq++ {
			m, err := s.GetMsg(ctx, seq)
			if err != nil {
				continue // deleted or done
			}
			c.search(sinkStreams, m.Subject, []byte(m.Subject+"\n"+headerText(m.Header)+string(m.Data)))
		}
	}
	if err := all.Err(); err != nil {
		c.t.Fatal(err)
	}
}

// ledger searches a dump of the ledger's schema.
func (c *canaries) ledger(database string) {
	cmd, err := cluster.Client(c.t.Context(), database, "pg_dump", "--schema=pgcourier")
	if err != nil {
		c.t.Fatal(err)
	}
	text, err := cmd.Output()
	if err != nil || !bytes.Contains(text, []byte("pgcourier.requests")) {
		c.t.Fatalf("dump the ledger: %v, %d bytes", err, len(text))
	}
	c.search(sinkLedger, "the ledger", text)
}

// get searches an HTTP answer.
func (c *canaries) get(sink, url string) {
	resp, err := http.Get(url)
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	c.search(sink, url, []byte(headerText(resp.Header)+string(body)))
}

// idle starts a shell with these arguments and environment, which only waits until stop.
func (p *platform) idle(args, env []string) (stop func()) {
	p.t.Helper()
	cmd := exec.CommandContext(p.t.Context(), "/bin/sh", args...)
	cmd.Env = env
	in, err := cmd.StdinPipe()
	out, outErr := cmd.StdoutPipe()
	if err = errors.Join(err, outErr); err == nil {
		err = cmd.Start()
	}
	if err == nil { // before it runs, its arguments and its environment may be missing
		_, err = io.ReadFull(out, make([]byte, 1))
	}
	if err != nil {
		p.t.Fatal(err)
	}
	return func() {
		_ = in.Close()
		_ = cmd.Wait() // read fails at the end of its input
	}
}
