package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/pgcourier/pgcourier/events/codes"
)

// exitUnreachable is the exit code of a worker without access to the storage.
const exitUnreachable = 5

func mountFaults() []fault {
	return []fault{{
		name: "storage-not-mounted", about: "the storage's file system is not mounted, its mount point is empty; one worker runs, one starts", tmpfs: "512m",
		unpublished: true,
		permitted:   map[string][]codes.Code{anyProject: {codes.StorageUnavailable}},
		strike:      notMounted,
	}}
}

// notMounted unmounts the storage between two dumps. It mounts it again once a dump has failed
// because of it and a worker has refused to start.
func notMounted(ctx context.Context, w *world) error {
	half := len(w.jobs) / 2
	if err := errors.Join(w.publish(ctx, w.jobs[:half]), w.finished(ctx, half)); err != nil {
		return err
	}
	aside := filepath.Join(w.dir, "aside")
	if err := os.Mkdir(aside, 0o700); err != nil {
		return err
	}
	if err := unix.Mount(w.storage, aside, "", unix.MS_BIND, ""); err != nil {
		return err
	}
	if err := unix.Unmount(w.storage, unix.MNT_DETACH); err != nil { // the workers hold it open
		return err
	}
	err := w.publish(ctx, w.jobs[half:])
	err = errors.Join(err, w.failing(ctx, codes.StorageUnavailable))
	// As after a reboot.
	starting := w.workers[1]
	err = errors.Join(err, starting.process.end(timeout(0)), w.refusesToStart(ctx, starting))
	if left, readErr := os.ReadDir(w.storage); readErr != nil || len(left) > 0 {
		err = errors.Join(err, readErr, fmt.Errorf("the mount point holds %v", left))
	}
	err = errors.Join(err, unix.Mount(aside, w.storage, "", unix.MS_BIND, ""), unix.Unmount(aside, unix.MNT_DETACH))
	w.heal()
	return errors.Join(err, starting.start(ctx, ""))
}

// refusesToStart starts a worker, which must end by itself and report the reason.
func (w *world) refusesToStart(ctx context.Context, k *worker) error {
	err := k.start(ctx, "")
	if err == nil {
		return errors.New("a worker serves although its storage is not mounted")
	}
	select {
	case <-k.process.exited:
	case <-ctx.Done():
		return ctx.Err()
	}
	text, _ := k.process.output()
	if exit, ok := errors.AsType[*exec.ExitError](k.process.err); !ok || exit.ExitCode() != exitUnreachable || !holdsAll(text, []string{"the storage is not there", "mounted"}) {
		return fmt.Errorf("a worker with an unmounted storage ended with %w and said: %s", k.process.err, text)
	}
	return nil
}
