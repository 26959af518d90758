package main

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/config"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/handover"
	"github.com/pgcourier/pgcourier/internal/ledger"
	"github.com/pgcourier/pgcourier/internal/project"
	"github.com/pgcourier/pgcourier/internal/service"
	"github.com/pgcourier/pgcourier/internal/term"
)

func (a *app) linkCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "link",
		Short: "Make, list and revoke download links of exports",
		Example: "  pgcourier link create acme/nightly-42 --ttl 48h --max-downloads 3\n" +
			"  pgcourier link revoke lnk_mzxw6ytboi3gk4tbnzsw63lqoq --project acme",
		Long: "A link opens one export, until it expires, is revoked or is used as often as it may be.\n" +
			"A process with the role api serves it. The ledger keeps its record and not the link\n" +
			"itself: that is shown once. See docs/links.md.",
		Args: cobra.NoArgs,
	}
	cmd.AddCommand(a.linkCreateCommand(), a.linkListCommand(), a.linkRevokeCommand())
	return cmd
}

// createdLink is what create prints.
type createdLink struct {
	handover.Link
	URL string `json:"url"`
}

func (a *app) linkCreateCommand() *cobra.Command {
	r := handover.IssueRequest{}
	var ttl string
	cmd := &cobra.Command{
		Use:     "create PROJECT/REQUEST",
		Short:   "Make a link",
		Long:    "Prints the link once, on standard output. Whoever has it can fetch the file.",
		Example: "  pgcourier link create acme/nightly-42 --ttl 48h --max-downloads 3 --notify-email owner@example.com",
		Args:    cobra.ExactArgs(1),
	}
	cmd.Flags().StringVar(&ttl, "ttl", "7d", "how long it is valid, 1m to 366d")
	cmd.Flags().IntVar(&r.MaxDownloads, "max-downloads", 0, "how often the file can be fetched (default: no limit)")
	cmd.Flags().StringVar(&r.NotifyEmail, "notify-email", "", "address that a notifier sends it to")
	load := a.settingFlags(cmd, "DATABASE_URL", "PUBLIC_URL", "LINK_KEY", "DATA_DIR")
	cmd.RunE = coded(func(cmd *cobra.Command, args []string) (err error) {
		var ok bool
		if r.TTL, ok = events.ParseTTL(ttl); !ok {
			return exitf(exitUsage, "--ttl: %q is not a time such as 48h or 7d, from 1 minute to 366 days", ttl)
		}
		if r.ID, err = exportID(args[0]); err != nil {
			return err
		}
		c, err := load()
		if err != nil {
			return err
		}
		r.By = issuer()
		return a.withLinks(cmd.Context(), c, func(links *handover.Links) error {
			link, url, err := links.Issue(cmd.Context(), r)
			if err != nil {
				return err
			}
			return a.print(createdLink{link, url}, url+"\n")
		})
	})
	return cmd
}

func (a *app) linkListCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "list PROJECT[/REQUEST]",
		Short:   "List the links of a project or an export",
		Long:    "Lists at most 1,000 links, the newest first.",
		Example: "  pgcourier link list acme/nightly-42 --output json",
		Args:    cobra.ExactArgs(1),
	}
	load := a.settingFlags(cmd, "DATABASE_URL", "LINK_KEY", "DATA_DIR")
	cmd.RunE = coded(func(cmd *cobra.Command, args []string) error {
		c, err := load()
		if err != nil {
			return err
		}
		project, request, _ := strings.Cut(args[0], "/")
		return a.withLinks(cmd.Context(), c, func(links *handover.Links) error {
			all, err := links.List(cmd.Context(), export.ID{Project: project, Request: request})
			if err != nil {
				return err
			}
			return a.print(all, linksText(a.screen(), all))
		})
	})
	return cmd
}

func (a *app) linkRevokeCommand() *cobra.Command {
	var project string
	cmd := &cobra.Command{
		Use:     "revoke LINK",
		Short:   "Revoke a link",
		Long:    "The link opens nothing from then on. A download that runs goes on to its end.",
		Example: "  pgcourier link revoke lnk_mzxw6ytboi3gk4tbnzsw63lqoq --project acme",
		Args:    cobra.ExactArgs(1),
	}
	cmd.Flags().StringVar(&project, "project", "", "the project of the export; required")
	_ = cmd.MarkFlagRequired("project")
	load := a.settingFlags(cmd, "DATABASE_URL", "LINK_KEY", "DATA_DIR")
	cmd.RunE = coded(func(cmd *cobra.Command, args []string) error {
		c, err := load()
		if err != nil {
			return err
		}
		return a.withLinks(cmd.Context(), c, func(links *handover.Links) error {
			l, err := links.Revoke(cmd.Context(), project, args[0], issuer())
			if err != nil {
				return fmt.Errorf("%s of %s: %w", args[0], project, err)
			}
			return a.print(l, fmt.Sprintf("%s is revoked; it was used %d times\n", l.ID, l.Downloads))
		})
	})
	return cmd
}

// withLinks opens the links of a configuration for use.
func (a *app) withLinks(ctx context.Context, c config.Config, use func(*handover.Links) error) error {
	return service.WithLedger(ctx, c, func(_ context.Context, l *ledger.Ledger, _ *project.Projects) error {
		keys, err := handover.OpenKeys(c.LinkKey, c.DataDir)
		if err != nil {
			return config.AsError(err)
		}
		return use(service.NewLinks(c, l, keys, nil, a.quietLogger(c)))
	})
}

// exportID reads PROJECT/REQUEST.
func exportID(s string) (export.ID, error) {
	project, request, ok := strings.Cut(s, "/")
	if !ok || !events.ValidProject(project) || !events.ValidRequest(request) {
		return export.ID{}, exitf(exitUsage, "%q is not PROJECT/REQUEST", s)
	}
	return export.ID{Project: project, Request: request}, nil
}

// issuer is the user in the record of a link.
func issuer() string { return cmp.Or(userName(), "operator") }

func linksText(s term.Screen, all []handover.Link) string {
	if len(all) == 0 {
		return "no links\n"
	}
	table := term.Table{Columns: []term.Column{
		{Title: "LINK", ID: true}, {Title: "EXPORT", ID: true}, {Title: "STATE"}, {Title: "USED", Drop: 3},
		{Title: "EXPIRES", Drop: 1, Least: len(term.TimeForm)}, {Title: "ISSUED BY", Drop: 2, Least: 8},
	}}
	for _, l := range all {
		used := strconv.Itoa(l.Downloads)
		if l.MaxDownloads > 0 {
			used += " of " + strconv.Itoa(l.MaxDownloads)
		}
		table.Add(l.ID, l.Of().String(), l.State(time.Now()), used, term.Time(&l.ExpiresAt), l.IssuedBy)
	}
	return table.Text(s)
}
