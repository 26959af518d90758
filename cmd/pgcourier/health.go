package main

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/spf13/cobra"
)

func (a *app) healthCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Ask a running worker whether it is ready",
		Long: "Asks /readyz at HTTP_ADDR. With --live it asks /healthz, which says that the process\n" +
			"lives. Use that for a container's health check: an outage of the broker or the database\n" +
			"then does not restart workers.",
		Example: "  pgcourier health --http-addr 127.0.0.1:8321\n" +
			"  pgcourier health --live",
		Args: cobra.NoArgs,
	}
	live := cmd.Flags().Bool("live", false, "ask whether the process lives, not whether it is ready")
	load := a.settingFlags(cmd, "HTTP_ADDR")
	cmd.RunE = coded(func(cmd *cobra.Command, _ []string) error {
		c, err := load()
		if err != nil {
			return err
		}
		if c.HTTPAddr == "" {
			return exitf(exitUsage, "set PGCOURIER_HTTP_ADDR to the same address as the worker's")
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), 5*time.Second)
		defer cancel()
		path, is := "/readyz", "ready"
		if *live {
			path, is = "/healthz", "alive"
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.HTTPAddr+path, nil)
		if err != nil {
			return exit(exitUsage, err)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return exit(exitUnreachable, err)
		}
		defer func() { _ = res.Body.Close() }()
		var status struct {
			Status string `json:"status"`
			Reason string `json:"reason,omitempty"`
		}
		if err := json.NewDecoder(res.Body).Decode(&status); err != nil {
			return exitf(exitFailed, "unexpected answer from %s: %w", c.HTTPAddr, err)
		}
		if status.Status != "ok" {
			return exitf(exitFailed, "not %s: %s", is, status.Reason)
		}
		return a.print(status, is+"\n")
	})
	return cmd
}
