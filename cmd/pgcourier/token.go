package main

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/api/access"
	"github.com/pgcourier/pgcourier/internal/ledger"
	"github.com/pgcourier/pgcourier/internal/project"
	"github.com/pgcourier/pgcourier/internal/service"
	"github.com/pgcourier/pgcourier/internal/term"
)

func (a *app) tokenCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "token",
		Short:   "Make, list and revoke tokens of the HTTP API",
		Example: "  pgcourier token create --project acme --scope export,read,download --expires 90d",
		Long: "A token is for one project, or for all with --project '*', and for scopes: export (ask\n" +
			"for exports and cancel them), read, download, operate (cancel, replay, delete, change\n" +
			"schedules), restore (restore into the project, which may replace its data) and admin (all\n" +
			"of these). The ledger keeps a hash of it. See docs/api.md.",
		Args: cobra.NoArgs,
	}
	cmd.AddCommand(a.tokenCreateCommand(), a.tokenListCommand(), a.tokenRevokeCommand())
	return cmd
}

// createdToken is what create prints. The token itself is shown here only.
type createdToken struct {
	access.Token
	Secret string `json:"token"`
}

func (a *app) tokenCreateCommand() *cobra.Command {
	var of, expires, label string
	var scopes []string
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Make a token",
		Long: "Prints the token once, on standard output. It cannot be shown again: revoke it and\n" +
			"make another when it is lost.",
		Example: "  pgcourier token create --project acme --scope export,read,download --expires 90d\n" +
			"  pgcourier token create --project '*' --scope read --expires never --label dashboard",
		Args: cobra.NoArgs,
	}
	cmd.Flags().StringVar(&of, "project", "", "the project that it is for; * for all; required")
	cmd.Flags().StringSliceVar(&scopes, "scope", nil, "what it is for: export, read, download, operate, restore, admin; required")
	cmd.Flags().StringVar(&expires, "expires", "90d", "how long it is valid, such as 90d or 12h; never: without an end")
	cmd.Flags().StringVar(&label, "label", "", "what it is used for; shown in lists")
	_ = cmd.MarkFlagRequired("project")
	_ = cmd.MarkFlagRequired("scope")
	load := a.settingFlags(cmd, ledgerSettings...)
	cmd.RunE = coded(func(cmd *cobra.Command, _ []string) error {
		valid, err := access.ParseExpiry(expires)
		if err != nil {
			return exitf(exitUsage, "--expires: %w", err)
		}
		parsed, err := access.ParseScopes(scopes)
		if err != nil {
			return exitf(exitUsage, "--scope: %w", err)
		}
		if len(parsed) == 0 {
			return exitf(exitUsage, "--scope: name at least one")
		}
		if of != access.AllProjects && !events.ValidProject(of) {
			return exitf(exitUsage, "--project: %q is neither a project id nor *", of)
		}
		c, err := load()
		if err != nil {
			return err
		}
		return service.WithLedger(cmd.Context(), c, func(ctx context.Context, l *ledger.Ledger, _ *project.Projects) error {
			secret, hash := access.NewSecret()
			add := access.Token{ID: access.NewTokenID(), Project: of, Scopes: parsed, Label: label, CreatedBy: userName()}
			made, err := l.AddToken(ctx, add, hash, valid)
			if err != nil {
				return err
			}
			fmt.Fprintf(a.stderr, "pgcourier: made token %s of project %s; it is shown once\n", made.ID, term.Sanitize(made.Project))
			return a.print(createdToken{made, secret.Reveal()}, secret.Reveal()+"\n")
		})
	})
	return cmd
}

func (a *app) tokenListCommand() *cobra.Command {
	var of string
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List tokens, without their secrets",
		Example: "  pgcourier token list --project acme",
		Args:    cobra.NoArgs,
	}
	cmd.Flags().StringVar(&of, "project", "", "only this project's; * for those of all projects (default: every token)")
	load := a.settingFlags(cmd, ledgerSettings...)
	cmd.RunE = coded(func(cmd *cobra.Command, _ []string) error {
		c, err := load()
		if err != nil {
			return err
		}
		return service.WithLedger(cmd.Context(), c, func(ctx context.Context, l *ledger.Ledger, _ *project.Projects) error {
			all, err := l.Tokens(ctx, of)
			if err != nil {
				return err
			}
			return a.print(all, tokensText(a.screen(), all))
		})
	})
	return cmd
}

func (a *app) tokenRevokeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "revoke ID",
		Short:   "Revoke a token",
		Long:    "Takes effect with the next call, at every server. It may be repeated.",
		Example: "  pgcourier token revoke k3j9x7q2m4",
		Args:    cobra.ExactArgs(1),
	}
	load := a.settingFlags(cmd, ledgerSettings...)
	cmd.RunE = coded(func(cmd *cobra.Command, args []string) error {
		if strings.HasPrefix(args[0], access.TokenPrefix) {
			return exitf(exitUsage, "name the token by its id, as `pgcourier token list` shows it, not by its secret")
		}
		c, err := load()
		if err != nil {
			return err
		}
		return service.WithLedger(cmd.Context(), c, func(ctx context.Context, l *ledger.Ledger, _ *project.Projects) error {
			revoked, err := l.RevokeToken(ctx, args[0], userName())
			if err != nil {
				return fmt.Errorf("%s: %w", term.Sanitize(args[0]), err)
			}
			return a.print(revoked, fmt.Sprintf("revoked token %s of project %s\n", revoked.ID, revoked.Project))
		})
	})
	return cmd
}

var tokenColumns = []term.Column{
	{Title: "TOKEN", ID: true}, {Title: "PROJECT", ID: true}, {Title: "STATE"}, {Title: "SCOPES", Least: 12},
	{Title: "EXPIRES", Drop: 1, Least: len(term.TimeForm)}, {Title: "LAST USED", Drop: 2}, {Title: "FROM", Drop: 5}, {Title: "MADE BY", Drop: 4},
	{Title: "LABEL", Drop: 3, Least: 8},
}

func tokensText(s term.Screen, all []access.Token) string {
	if len(all) == 0 {
		return "no tokens\n"
	}
	now := s.Now
	if now.IsZero() {
		now = time.Now()
	}
	table := term.Table{Columns: tokenColumns}
	for _, t := range all {
		scopes := make([]string, len(t.Scopes))
		for i, scope := range t.Scopes {
			scopes[i] = string(scope)
		}
		used := "never"
		if t.LastUsedAt != nil {
			used = s.Age(t.LastUsedAt)
		}
		table.Add(t.ID, t.Project, t.State(now), strings.Join(scopes, ","), term.Time(t.ExpiresAt), used, cmp.Or(t.LastUsedFrom, "-"), cmp.Or(t.CreatedBy, "-"), cmp.Or(t.Label, "-"))
	}
	return table.Text(s)
}
