package e2e_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/pgcourier/pgcourier/events"
)

// TestCommands runs the scripts that need only the program.
func TestCommands(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{Dir: "testdata/script", RequireExplicitExec: true, Cmds: commands})
}

// TestCommandsOnAPlatform runs the scripts beside a worker. Each may use the project with its name;
// $PASSWORD is the database's.
func TestCommandsOnAPlatform(t *testing.T) {
	t.Parallel()
	p := setup(t)
	addr := freeAddress(t)
	p.tenants("request", "refused", "list")
	p.start("HTTP_ADDR=" + addr)
	eventually(t, "the worker answers about its health", func() bool { return answers(addr) })
	// testscript.Run returns when its scripts have, before this test's clean-up.
	t.Run("scripts", func(t *testing.T) {
		testscript.Run(t, testscript.Params{
			Dir: "testdata/platform", RequireExplicitExec: true, Cmds: commands,
			Setup: func(e *testscript.Env) error {
				e.Vars = append(e.Vars, p.environ("LOG_LEVEL=warn", "HTTP_ADDR="+addr)...)
				e.Setenv("DATABASE_URL", cluster.URL(p.database))
				return nil
			},
		})
	})
	p.outcomes = int(p.stream(events.StreamOutcomes).State.Msgs)
	if p.outcomes < 4 {
		t.Errorf("the scripts led to %d outcomes", p.outcomes)
	}
}

// commands are what scripts have beside testscript's own.
var commands = map[string]func(*testscript.TestScript, bool, []string){
	"exits": exits,
	"json":  jsonHas,
}

// exits runs a command, which must end with the given code:
//
//	exits 2 pgcourier request
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND [ARG...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code is %d, want %d", got, want)
	}
}

// jsonHas reads the JSON that the last command wrote, at a path of names and indices. The value
// there must be the given text, or exist if no text is given; with a negation it must not exist.
//
//	json 0.state completed
//	! json 0.cause
func jsonHas(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: json PATH [VALUE]")
	}
	var v any
	if err := json.Unmarshal([]byte(ts.ReadFile("stdout")), &v); err != nil {
		ts.Fatalf("not JSON: %v", err)
	}
	there := true
	for name := range strings.SplitSeq(args[0], ".") {
		switch in := v.(type) {
		case map[string]any:
			v, there = in[name]
		case []any:
			i, err := strconv.Atoi(name)
			if there = err == nil && i < len(in); there {
				v = in[i]
			}
		default:
			there = false
		}
		if !there {
			break
		}
	}
	if there == neg {
		ts.Fatalf("%s is there: %t", args[0], there)
	}
	if len(args) == 2 && fmt.Sprint(v) != args[1] {
		ts.Fatalf("%s is %v, want %s", args[0], v, args[1])
	}
}
