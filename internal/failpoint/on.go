//go:build failpoints

package failpoint

import (
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

type point struct {
	action string
	at     int
	hits   int
}

// armed is read from the environment at the first hit. From then on SIGUSR1 makes the
// process print its number of goroutines, for runs of hours.
var armed = sync.OnceValue(func() map[Name]*point {
	go report()
	out := map[Name]*point{}
	for one := range strings.SplitSeq(os.Getenv("FAILPOINTS"), ",") {
		if one == "" {
			continue
		}
		name, action, ok := strings.Cut(one, "=")
		action, nth, _ := strings.Cut(action, "@")
		n, err := strconv.Atoi(nth)
		if nth == "" {
			n, err = 1, nil
		}
		if !ok || err != nil || !slices.Contains(all(), Name(name)) || !slices.Contains([]string{"exit", "stop", "panic"}, action) {
			panic(fmt.Sprintf("FAILPOINTS: %q is not name=exit|stop|panic[@n]", one))
		}
		out[Name(name)] = &point{action: action, at: n}
	}
	return out
})

func report() {
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGUSR1)
	for range asked {
		fmt.Fprintf(os.Stderr, "failpoint goroutines: %d\n", runtime.NumGoroutine())
	}
}

var mu sync.Mutex

// Hit acts if the point is armed and this is the hit it waits for.
func Hit(name Name) {
	p := armed()[name]
	if p == nil {
		return
	}
	mu.Lock()
	p.hits++
	act := p.hits == p.at
	mu.Unlock()
	if !act {
		return
	}
	fmt.Fprintf(os.Stderr, "failpoint %s: %s\n", name, p.action)
	switch p.action {
	case "exit":
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	case "stop":
		// The kernel may stop this thread a little later than the call returns: what comes
		// after the point must not happen before the process was continued.
		continued := make(chan os.Signal, 1)
		signal.Notify(continued, syscall.SIGCONT)
		_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
		<-continued
		signal.Stop(continued)
	case "panic":
		panic("failpoint " + string(name))
	}
}

// all lists every point.
func all() []Name {
	return []Name{
		BeforeClaim, AfterClaim, AfterLookup, AfterOpen, MidStream, BeforeReadBack, BeforeFinalise, AfterObject,
		AfterStore, BeforeCommit, AfterCommit, AfterPublish, AfterMark, BeforeAck, AfterAck, BeforeDiscard,
	}
}
