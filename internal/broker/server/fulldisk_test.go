package server_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sys/unix"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/broker/server"
	"github.com/pgcourier/pgcourier/internal/dev/brokertest"
)

// fullDiskVariable makes the test binary a process with an embedded broker on a small disk.
const fullDiskVariable = "SERVER_TEST_FULL_DISK"

// exitNoMount says that the small file system could not be mounted.
const exitNoMount = 3

// The disk is really full: a tmpfs of 6 MiB, mounted in a process with its own mounts.
func TestTheEmbeddedBrokerRestartsAfterAFullDisk(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestMain$")
	cmd.Env = append(os.Environ(), fullDiskVariable+"="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	exit, exited := errors.AsType[*exec.ExitError](err)
	if exited && exit.ExitCode() == exitNoMount || err != nil && !exited {
		t.Skipf("this machine permits no process to mount its own file system: %v %s", err, out)
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}

func fillDisk(dir string) int {
	if err := unix.Mount("none", dir, "tmpfs", 0, "size=6m,mode=700"); err != nil {
		fmt.Println(err)
		return exitNoMount
	}
	if err := onFullDisk(dir); err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// onFullDisk fills the disk of an embedded broker and publishes until that fails. Then it frees the
// disk and checks that the broker accepts messages again and has the earlier ones.
func onFullDisk(dir string) error {
	ctx, cancel := context.WithTimeout(context.Background(), brokertest.Timeout)
	defer cancel()
	log := slog.New(slog.NewTextHandler(os.Stdout, nil))
	srv, err := server.Start(server.Config{DataDir: dir, Port: server.RandomPort, Logger: log})
	if err != nil {
		return err
	}
	nc, err := srv.ConnectAdmin(log)
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	if err := broker.Provision(ctx, js, broker.Topology{MaxWaitingPerProject: 10_000}); err != nil {
		return err
	}
	publish := func() error {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		_, err := js.Publish(ctx, events.RequestSubject("acme"), make([]byte, 2048))
		return err
	}
	if _, err := js.Publish(ctx, events.RequestSubject("acme"), make([]byte, 2048)); err != nil {
		return err
	}
	var seen atomic.Value
	watched := make(chan error, 1)
	watching, stop := context.WithCancel(ctx)
	defer stop()
	go func() { watched <- srv.Watch(watching, func(err error) { seen.Store(fmt.Sprint(err)) }) }()

	filler := filepath.Join(dir, "filler")
	if err := fill(filler); err != nil {
		return err
	}
	noticed := func() bool {
		_ = publish() // the pages of existing files take a few
		s, _ := seen.Load().(string)
		return strings.Contains(s, "no space left")
	}
	if err := until(ctx, noticed); err != nil {
		return fmt.Errorf("the full disk was not noticed: %v, %w", seen.Load(), err)
	}
	fmt.Println("noticed:", seen.Load())
	if err := os.Remove(filler); err != nil {
		return err
	}
	freed := time.Now()
	if err := until(ctx, func() bool { return publish() == nil }); err != nil {
		return fmt.Errorf("it takes no message: %v, %w", seen.Load(), err)
	}
	fmt.Println("takes messages after", time.Since(freed).Round(100*time.Millisecond))
	s, err := js.Stream(ctx, events.StreamRequests)
	if err != nil {
		return err
	}
	if n := s.CachedInfo().State.Msgs; n < 2 {
		return fmt.Errorf("%d messages, want what there was and the new one", n)
	}
	stop()
	if err := <-watched; err != nil {
		return err
	}
	return srv.Shutdown()
}

func fill(file string) error {
	f, err := os.Create(file) // #nosec G304 -- the test's own
	if err != nil {
		return err
	}
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		return err
	}
	return f.Close()
}

func until(ctx context.Context, ok func() bool) error {
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-poll.C:
		}
	}
	return nil
}
