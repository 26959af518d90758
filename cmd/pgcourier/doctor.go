package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// finding is what doctor says of one destination.
type finding struct {
	Check    string `json:"check"`
	Required bool   `json:"required"`
	OK       bool   `json:"ok"`
	Error    string `json:"error,omitempty"`
}

func (a *app) doctorCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check every storage destination",
		Long: "Asks each destination of STORAGE what a worker asks at its start: is the folder\n" +
			"writable, the bucket there, the chat reachable, may the bot post, delete and pin, is\n" +
			"auto-delete off. Exits 2 when something must be mended, 5 when it may pass.",
		Example: "  pgcourier doctor\n" +
			"  pgcourier doctor --storage telegram://-1001234567890 --telegram-token-file /run/secrets/token --output json",
		Args: cobra.NoArgs,
	}
	load := a.settingFlags(cmd, storageSettings...)
	cmd.RunE = coded(func(cmd *cobra.Command, _ []string) (err error) {
		c, err := load()
		if err != nil {
			return err
		}
		urls, err := c.StorageURLs()
		if err != nil {
			return err
		}
		// Nothing is stored, so nobody can read what should have been encrypted.
		places, err := openDestinations(urls, storageOptions{token: c.TelegramToken, plaintext: true, log: a.logger(c)})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, closeDestinations(places)) }()
		return a.examine(cmd.Context(), places)
	})
	return cmd
}

// examine checks each destination, optional ones too, and fails if one of them does.
func (a *app) examine(ctx context.Context, places []*destination) error {
	var all []finding
	var faults []error
	var text strings.Builder
	for _, d := range places {
		bounded, cancel := context.WithTimeout(ctx, checkPatience)
		err := d.check(bounded)
		cancel()
		f := finding{Check: "storage " + d.name, Required: !d.optional, OK: err == nil}
		if err != nil {
			err = fmt.Errorf("storage %s: %w", d.name, err)
			f.Error = err.Error()
			faults = append(faults, err)
		} else {
			fmt.Fprintf(&text, "%s: ok\n", f.Check)
		}
		all = append(all, f)
	}
	if err := a.print(all, text.String()); err != nil {
		return err
	}
	if len(faults) == 0 {
		return nil
	}
	return storageExit(errors.Join(faults...))
}
