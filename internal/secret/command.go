package secret

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ErrCommand says that a Command gave no password. Another try may succeed: such commands ask a
// service.
var ErrCommand = errors.New("the password command gave no password")

const (
	// commandWait bounds one run of a Command.
	commandWait = 30 * time.Second
	// maxPassword is the longest password that PostgreSQL takes (PG_MAX_AUTH_TOKEN_LENGTH).
	maxPassword = 65535
	// maxComplaint bounds the part of the command's stderr that an error quotes.
	maxComplaint = 500
)

// Command is a program and its arguments. It prints the password for a connection to PostgreSQL, for
// instance the short-lived token of a cloud provider. Empty: there is none.
type Command []string

// UnmarshalText parses a JSON array of strings. An empty text is no command.
func (c *Command) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*c = nil
		return nil
	}
	var words []string
	if err := json.Unmarshal(text, &words); err != nil || len(words) == 0 || words[0] == "" {
		return errors.New(`it is not a JSON array of strings such as ["program", "argument"]`)
	}
	*c = words
	return nil
}

// Password runs the program, without a shell, and returns the line that it prints. In its arguments
// {host}, {port}, {user} and {dbname} stand for those of the connection. It may take 30 seconds.
// Without a command the password is empty. Errors wrap ErrCommand; they quote the program's stderr
// and never its output.
func (c Command) Password(ctx context.Context, host string, port uint16, user, dbname string) (string, error) {
	if len(c) == 0 {
		return "", nil
	}
	args := slices.Clone(c[1:])
	for _, v := range []struct {
		place, value string
		path         bool // it may be one: a host may be the folder of a socket
	}{{"{host}", host, true}, {"{user}", user, false}, {"{dbname}", dbname, false}} {
		used := slices.ContainsFunc(c[1:], func(arg string) bool { return strings.Contains(arg, v.place) })
		// Such a value would be an option, or lead to another file.
		if used && (strings.HasPrefix(v.value, "-") || !v.path && strings.Contains(v.value, "/")) {
			return "", fmt.Errorf("%w: the value of %s begins with - or holds a /", ErrCommand, v.place)
		}
	}
	values := strings.NewReplacer("{host}", host, "{port}", strconv.Itoa(int(port)), "{user}", user, "{dbname}", dbname)
	for i, arg := range args {
		args[i] = values.Replace(arg)
	}
	out, err := run(ctx, c[0], args)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrCommand, err)
	}
	password := strings.TrimSuffix(strings.TrimSuffix(out, "\n"), "\r")
	switch {
	case password == "":
		return "", fmt.Errorf("%w: it printed nothing", ErrCommand)
	case len(password) > maxPassword:
		return "", fmt.Errorf("%w: it printed more than %d bytes", ErrCommand, maxPassword)
	case strings.ContainsAny(password, "\r\n\x00"):
		return "", fmt.Errorf("%w: it printed more than one line", ErrCommand)
	}
	return password, nil
}

// run returns the beginning of what a program prints.
func run(ctx context.Context, program string, args []string) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, commandWait, fmt.Errorf("it took longer than %s", commandWait))
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...) //nolint:gosec // the operator's setting
	// It needs the environment for its own login, such as AWS_PROFILE. The settings of this program
	// hold other secrets, and systemd's variables are for the process that it watches.
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "PGCOURIER_") || strings.HasPrefix(v, "NOTIFY_SOCKET=") || strings.HasPrefix(v, "WATCHDOG_")
	})
	cmd.WaitDelay = time.Second // a child that it left may hold its output open
	out, complaint := head{most: maxPassword + len("\r\n")}, head{most: maxComplaint}
	cmd.Stdout, cmd.Stderr = &out, &complaint
	err := cmd.Run()
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if words := strings.TrimSpace(complaint.String()); err != nil && words != "" {
		err = fmt.Errorf("%w: %q", err, words)
	}
	return out.String(), err
}

// head keeps the first bytes of what is written to it.
type head struct {
	bytes.Buffer
	most int
}

func (h *head) Write(p []byte) (int, error) {
	h.Buffer.Write(p[:min(len(p), h.most-h.Len())])
	return len(p), nil
}
