package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/jackc/pgx/v5/pgxpool"
)

// consumed holds core seconds, including system calls, and the messages between the workers and the
// broker.
type consumed struct {
	Workers    float64 `json:"workers_core_seconds"` // pg_dump and pg_restore included
	Broker     float64 `json:"broker_core_seconds"`  // of all nodes
	PostgreSQL float64 `json:"postgresql_core_seconds"`
	Messages   int64   `json:"messages"`
	Bytes      int64   `json:"bytes"`
}

func (c consumed) minus(before consumed) consumed {
	return consumed{
		c.Workers - before.Workers, c.Broker - before.Broker, c.PostgreSQL - before.PostgreSQL,
		c.Messages - before.Messages, c.Bytes - before.Bytes,
	}
}

// consumption reads the consumption of all processes of the world so far.
func (w *world) consumption(ctx context.Context) (c consumed, err error) {
	for _, k := range w.workers {
		s, err := coreSeconds(k.process.pid())
		if err != nil {
			return c, err
		}
		c.Workers += s
	}
	for _, n := range w.broker.nodes {
		s, err := coreSeconds(n.process.pid())
		if err != nil {
			return c, err
		}
		c.Broker += s
		messages, bytes, err := n.said(ctx)
		if err != nil {
			return c, err
		}
		c.Messages += messages
		c.Bytes += bytes
	}
	for _, pool := range []*pgxpool.Pool{w.lab.ledger, w.lab.origin} {
		s, err := serverSeconds(ctx, pool)
		if err != nil {
			return c, err
		}
		c.PostgreSQL += s
	}
	return c, nil
}

// ticksPerSecond is Linux's USER_HZ, the same on every machine that Go runs on.
const ticksPerSecond = 100

// stat returns the fields of /proc/PID/stat from the third on, because a name may contain blanks.
func stat(pid int) ([]string, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil, err
	}
	_, rest, found := strings.Cut(string(b), ") ")
	fields := strings.Fields(rest)
	if !found || len(fields) < 15 {
		return nil, fmt.Errorf("read /proc/%d/stat: unknown form", pid)
	}
	return fields, nil
}

// coreSeconds returns the core seconds of a process and of its children that it has waited for.
func coreSeconds(pid int) (float64, error) {
	fields, err := stat(pid)
	if err != nil {
		return 0, err
	}
	var sum float64
	for _, f := range fields[11:15] { // utime, stime, cutime, cstime: proc(5)
		var ticks float64
		if _, err := fmt.Sscanf(f, "%g", &ticks); err != nil {
			return 0, fmt.Errorf("read /proc/%d/stat: %w", pid, err)
		}
		sum += ticks
	}
	return sum / ticksPerSecond, nil
}

// serverSeconds returns the core seconds of a PostgreSQL server and all its processes, including
// ended ones.
func serverSeconds(ctx context.Context, pool *pgxpool.Pool) (float64, error) {
	var backend int
	if err := pool.QueryRow(ctx, "SELECT pg_backend_pid()").Scan(&backend); err != nil {
		return 0, err
	}
	fields, err := stat(backend)
	if err != nil {
		return 0, err
	}
	postmaster := fields[1]
	var pid int
	if _, err := fmt.Sscanf(postmaster, "%d", &pid); err != nil {
		return 0, fmt.Errorf("read the server's pid: %w", err)
	}
	sum, err := coreSeconds(pid)
	if err != nil {
		return 0, err
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return 0, err
	}
	for _, e := range entries {
		var child int
		if _, err := fmt.Sscanf(e.Name(), "%d", &child); err != nil {
			continue // no process
		}
		if fields, err := stat(child); err != nil || fields[1] != postmaster {
			continue // gone, or another's
		}
		if s, err := coreSeconds(child); err == nil {
			sum += s
		}
	}
	return sum, nil
}

// said returns the number of messages and bytes between a node and its workers, in both directions.
func (n *node) said(ctx context.Context) (messages, bytes int64, err error) {
	url := fmt.Sprintf("http://127.0.0.1:%d/connz?limit=4096", n.monitorPort)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	if resp.StatusCode != http.StatusOK {
		return 0, 0, fmt.Errorf("ask %s for its connections: %s", n.name, resp.Status)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	if err != nil {
		return 0, 0, err
	}
	var doc struct {
		Connections []struct {
			Name     string `json:"name"`
			InMsgs   int64  `json:"in_msgs"`
			OutMsgs  int64  `json:"out_msgs"`
			InBytes  int64  `json:"in_bytes"`
			OutBytes int64  `json:"out_bytes"`
		} `json:"connections"`
	}
	if err := json.Unmarshal(body, &doc); err != nil {
		return 0, 0, fmt.Errorf("read the connections of %s: %w", n.name, err)
	}
	for _, c := range doc.Connections {
		if strings.HasPrefix(c.Name, "pgcourier") {
			messages += c.InMsgs + c.OutMsgs
			bytes += c.InBytes + c.OutBytes
		}
	}
	return messages, bytes, nil
}
