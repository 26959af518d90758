//go:build failpoints

package failpoint

import (
	"fmt"
	"os"
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

// armed is read from the environment at the first hit.
var armed = sync.OnceValue(func() map[Name]*point {
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
		if !ok || err != nil || !slices.Contains(All(), Name(name)) || !slices.Contains([]string{"exit", "stop", "panic"}, action) {
			panic(fmt.Sprintf("FAILPOINTS: %q is not name=exit|stop|panic[@n]", one))
		}
		out[Name(name)] = &point{action: action, at: n}
	}
	return out
})

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
		_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
	case "panic":
		panic("failpoint " + string(name))
	}
}
