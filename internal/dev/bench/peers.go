package main

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
)

//go:embed peer.js
var nodePeer []byte

// command is one program of a pipeline, with its arguments.
type command []string

// dump returns the bare pg_dump of a schema, with the arguments that decide the contents of the
// dump.
func (l *lab) dump(schema string, more ...string) command {
	return append(command{
		l.tool("pg_dump"), "--schema=\"" + schema + "\"", "--strict-names", "--no-owner", "--no-acl", "--no-tablespaces",
	}, more...)
}

// environment returns the usual environment of a PostgreSQL client, plus one option: without it the
// loops over many tenants would measure a wrong plan.
func (l *lab) environment(database string) []string {
	cmd, _ := l.cluster.Client(context.Background(), database, "psql") // it never fails
	return append(cmd.Env, "PGOPTIONS=-c enable_mergejoin=off", "PATH="+os.Getenv("PATH"), "HOME="+l.dir)
}

// pipeline runs programs, each with the output of the previous one as input. The last one writes to
// the file, or to /dev/null if file is empty. All of them must succeed. wait returns the processor
// seconds of each.
func (l *lab) pipeline(ctx context.Context, database, file string, commands ...command) (running func() []int, wait func() (cpu []float64, err error), err error) {
	var cmds []*exec.Cmd
	var closers []*os.File
	defer func() {
		for _, f := range closers {
			_ = f.Close()
		}
	}()
	var in *os.File
	for i, c := range commands {
		cmd := exec.CommandContext(ctx, c[0], c[1:]...) //nolint:gosec // a list of our own
		cmd.Env, cmd.Dir = l.environment(database), l.dir
		cmd.Stderr = &bytes.Buffer{}
		if in != nil {
			cmd.Stdin = in
		}
		switch {
		case i < len(commands)-1:
			r, w, err := os.Pipe()
			if err != nil {
				return nil, nil, err
			}
			closers = append(closers, r, w)
			cmd.Stdout, in = w, r
		case file != "":
			f, err := os.Create(file) //nolint:gosec // in the lab's folder
			if err != nil {
				return nil, nil, err
			}
			closers = append(closers, f)
			cmd.Stdout = f
		}
		cmds = append(cmds, cmd)
	}
	for i, cmd := range cmds {
		if err := cmd.Start(); err != nil {
			for _, c := range cmds[:i] {
				_ = c.Process.Kill()
				_ = c.Wait()
			}
			return nil, nil, err
		}
	}
	running = func() []int {
		pids := make([]int, len(cmds))
		for i, c := range cmds {
			pids[i] = c.Process.Pid
		}
		return pids
	}
	wait = func() (cpu []float64, err error) {
		for _, c := range cmds {
			if werr := c.Wait(); werr != nil {
				err = errors.Join(err, fmt.Errorf("%s: %w: %s", filepath.Base(c.Path), werr, c.Stderr))
			}
			cpu = append(cpu, (c.ProcessState.UserTime() + c.ProcessState.SystemTime()).Seconds())
		}
		return cpu, err
	}
	return running, wait, nil
}

// peer measures a pipeline. It removes the file afterwards; empty: /dev/null.
func (l *lab) peer(ctx context.Context, database, file string, commands ...command) (t trial, err error) {
	tmp, err := l.folder("peer")
	if err != nil {
		return t, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	keep := filepath.Join(tmp, "kept")
	spool := filepath.Join(tmp, "tmp")
	if err := errors.Join(os.Mkdir(keep, 0o700), os.Mkdir(spool, 0o700)); err != nil {
		return t, err
	}
	for _, c := range commands {
		for i := range c {
			c[i] = os.Expand(c[i], func(name string) string {
				return map[string]string{"KEEP": keep, "TMP": spool}[name]
			})
		}
	}
	if file != "" {
		file = filepath.Join(keep, file)
	}
	var cpu []float64
	var mu sync.Mutex
	running := func() []int { return nil }
	roots := func() []int {
		mu.Lock()
		defer mu.Unlock()
		return running()
	}
	t, err = l.observed(roots, spool, keep, func() error {
		pids, wait, err := l.pipeline(ctx, database, file, commands...)
		if err != nil {
			return err
		}
		mu.Lock()
		running = pids
		mu.Unlock()
		cpu, err = wait()
		mu.Lock()
		running = func() []int { return nil }
		mu.Unlock()
		return err
	})
	t.CPU, t.Dump, t.Memory, t.Children = 0, 0, t.Memory+t.Children, 0
	for i, seconds := range cpu {
		t.CPU += seconds
		if i == 0 {
			t.Dump = seconds
		}
	}
	t.Others -= t.CPU // the processes have ended, so that observed did not see it
	t.Output = folderSize(keep)
	return t, err
}

// pipe measures a pipeline by its name. If its last program is not installed, it is missing.
func (l *lab) pipe(name, database, file string, commands ...command) variant {
	v := variant{name: name, run: func(ctx context.Context) (trial, error) {
		own := make([]command, len(commands))
		for i, c := range commands {
			own[i] = append(command{}, c...)
		}
		return l.peer(ctx, database, file, own...)
	}}
	program := commands[len(commands)-1][0]
	if _, err := exec.LookPath(program); err != nil {
		v.missing = program + " is not installed"
	}
	return v
}

// peers are the common alternatives. A program that is not installed is reported as missing.
func (l *lab) peers(database string) []variant {
	script := filepath.Join(l.dir, "peer.js")
	write := os.WriteFile(script, nodePeer, 0o600)
	node := append(command{"node", script, "$TMP/dump.sql.gz", "$KEEP/dump.sql.gz"}, l.dump(schemaOfWall)...)
	back := command{
		"pg_back", "--dump-only", "--bin-directory", l.cluster.BinDir, "--backup-directory", "$KEEP",
		"--host", "127.0.0.1", "--port", strconv.Itoa(l.cluster.Port), "--username", "postgres", "--purge-older-than", "0", database,
	}
	pipe := func(name, file string, commands ...command) variant {
		return l.pipe(name, database, file, commands...)
	}
	all := []variant{
		pipe(peerGzip, "dump.sql.gz", l.dump(schemaOfWall), command{"gzip"}),
		pipe(peerNode, "", node),
		pipe(peerDirectory, "", l.dump(schemaOfWall, "--format=directory", "--jobs="+jobs, "--compress=0", "--no-sync", "--file=$KEEP/dump")),
		pipe("pg_dump | pigz", "dump.sql.gz", l.dump(schemaOfWall), command{"pigz"}),
		pipe("pg_dump | zstd", "dump.sql.zst", l.dump(schemaOfWall), command{"zstd", "-q"}),
		pipe("pg_dump -Fc", "dump", l.dump(schemaOfWall, "--format=custom")),
		pipe("pg_back", "", back),
	}
	if write != nil {
		all[1].missing = write.Error()
	}
	return all
}

const (
	peerGzip = "pg_dump | gzip"
	peerNode = "Node: pg_dump, createGzip, temporary file, copy"
)

// jobs is the number of our connections for three tables, by default at most four.
var jobs = strconv.Itoa(min(runtime.GOMAXPROCS(0), 3))

// peerDirectory is the cost of a parallel export before our own work: its files are in a folder, in
// the page cache, unread.
var peerDirectory = "pg_dump -Fd -j " + jobs + " -Z 0"
