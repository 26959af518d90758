package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sys/unix"
)

// machine describes the machine of the figures.
type machine struct {
	Cores  int               `json:"cores"`
	Memory int64             `json:"memory_bytes"`
	CPU    string            `json:"cpu"`
	Kernel string            `json:"kernel"`
	Tools  map[string]string `json:"versions"` // Go, PostgreSQL's server and client, and each peer by its name
}

// short returns the machine in one line, without the peers.
func (m machine) short() string {
	return fmt.Sprintf("%d cores of %s, %d GiB, Linux %s, %s, %s, %s", m.Cores, m.CPU, (m.Memory+1<<29)>>30, m.Kernel, m.Tools["go"], m.Tools["server"], m.Tools["pg_dump"])
}

func (m machine) String() string { return m.short() }

func (l *lab) machine(ctx context.Context) (machine, error) {
	m := machine{Cores: runtime.NumCPU(), CPU: "an unnamed processor", Tools: map[string]string{"go": runtime.Version()}}
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return m, err
	}
	m.Kernel = unix.ByteSliceToString(name.Release[:])
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return m, err
	}
	m.Memory = int64(info.Totalram) * int64(info.Unit) //nolint:gosec // far below 2^63
	cpus, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return m, err
	}
	for line := range strings.Lines(string(cpus)) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == "model name" {
			m.CPU = strings.TrimSpace(v)
			break
		}
	}
	if m.Tools["server"], err = l.serverVersion(ctx); err != nil {
		return m, err
	}
	for tool, path := range map[string]string{
		"pg_dump": l.tool("pg_dump"), "gzip": "gzip", "pigz": "pigz", "zstd": "zstd", "node": "node", "pg_back": "pg_back",
	} {
		if v := version(ctx, path); v != "" {
			m.Tools[tool] = v
		}
	}
	return m, nil
}

// serverVersion returns for instance "PostgreSQL server 15.18".
func (l *lab) serverVersion(ctx context.Context) (string, error) {
	conn, err := pgx.Connect(ctx, l.cluster.URL("postgres"))
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	var v string
	err = conn.QueryRow(ctx, "SELECT 'PostgreSQL server ' || split_part(current_setting('server_version'), ' ', 1)").Scan(&v)
	return v, err
}

// version returns the first line of a tool's version output; empty: it is not installed.
func version(ctx context.Context, tool string) string {
	out, err := exec.CommandContext(ctx, tool, "--version").CombinedOutput()
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return line
}
