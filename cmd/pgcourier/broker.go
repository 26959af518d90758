package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nkeys"
	"github.com/spf13/cobra"

	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/broker/server"
	"github.com/pgcourier/pgcourier/internal/broker/setup"
	"github.com/pgcourier/pgcourier/internal/config"
	"github.com/pgcourier/pgcourier/internal/notify"
	"github.com/pgcourier/pgcourier/internal/term"
)

func (a *app) brokerCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "broker",
		Short: "Set up a broker of your own with pgcourier's users",
		Long: "The embedded broker makes its users and streams by itself. For another nats-server,\n" +
			"`config` makes the users' keys and prints the accounts, users and rights for its\n" +
			"configuration; `setup` then makes the streams and consumers.",
		Example: "  pgcourier broker config --nats-keys keys > users.conf\n" +
			"  pgcourier broker setup --nats-keys keys --nats-url nats://broker:4222",
		Args: cobra.NoArgs,
	}
	cmd.AddCommand(a.brokerConfigCommand(), a.brokerSetupCommand())
	return cmd
}

// brokerUsers is what `broker config` prints as JSON.
type brokerUsers struct {
	Keys          server.PublicKeys `json:"keys"`          // public key of each user
	Publishers    map[string]string `json:"publishers"`    // the same, by project
	Configuration string            `json:"configuration"` // for nats-server
}

func (a *app) brokerConfigCommand() *cobra.Command {
	var publishers map[string]string
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Print the users and their rights for nats-server",
		Long: "Makes the keys that NATS_KEYS does not hold yet, each a file with mode 0600, and prints\n" +
			"what nats-server's configuration needs: include it there. Keep admin.nk private;\n" +
			"give each host the keys of its own processes. The text holds public keys only.\n\n" +
			"--publisher gives the owner of a key the right to ask for exports of one project. Its\n" +
			"replies must come under _INBOX_gateway_PROJECT.",
		Example: "  pgcourier broker config --nats-keys keys > users.conf\n" +
			"  pgcourier broker config --nats-keys keys --publisher acme=$(cat acme.pub) > users.conf",
		Args: cobra.NoArgs,
	}
	cmd.Flags().StringToStringVar(&publishers, "publisher", nil, "project, and public nkey of a publisher of its requests; repeatable")
	load := a.settingFlags(cmd, "NATS_KEYS")
	cmd.RunE = coded(func(*cobra.Command, []string) error {
		c, err := load()
		if err != nil {
			return err
		}
		if c.NATSKeys == "" {
			return exitf(exitUsage, "set PGCOURIER_NATS_KEYS, or --nats-keys: the folder for the users' keys")
		}
		for project, key := range publishers {
			if !nkeys.IsValidPublicUserKey(key) {
				return exitf(exitUsage, "--publisher: %s is not given a public key of a user, which begins with U", term.Sanitize(project))
			}
		}
		keys, err := server.EnsureKeys(c.NATSKeys, append(server.Users(), server.UserAdmin), a.logger(c))
		if err != nil {
			return err
		}
		text, err := server.Configuration(keys, publishers)
		if err != nil {
			return exitf(exitUsage, "--publisher: %w", err)
		}
		if publishers == nil {
			publishers = map[string]string{}
		}
		return a.print(brokerUsers{keys, publishers, text}, text)
	})
	return cmd
}

func (a *app) brokerSetupCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "setup",
		Short: "Make the streams and consumers, as the broker's administrator",
		Long: "Logs in with admin.nk of NATS_KEYS, or by NATS_NKEY, NATS_CREDS or the URL, and makes or\n" +
			"updates all that workers, notifiers, verifiers and restorers need: none of these has the\n" +
			"right to. Run it again after an upgrade, and with the workers' settings.",
		Example: "  pgcourier broker setup --nats-keys keys --nats-url nats://broker:4222\n" +
			"  pgcourier broker setup --nats-nkey admin.nk --nats-url nats://n1:4222,nats://n2:4222 --nats-replicas 3",
		Args: cobra.NoArgs,
	}
	load := a.settingFlags(cmd, append([]string{"NATS_REPLICAS", "NATS_STREAM_MAX_BYTES", "NATS_MAX_ACK_PENDING", "MAX_WAITING_PER_PROJECT", "OUTCOME_RETENTION", "EVENT_RETENTION", "ACK_WAIT"}, brokerSettings...)...)
	cmd.RunE = coded(func(cmd *cobra.Command, _ []string) error {
		c, err := load()
		if err != nil {
			return err
		}
		if c.NATSURL == "" {
			return exitf(exitUsage, "set PGCOURIER_NATS_URL: the embedded broker is set up by `pgcourier serve`")
		}
		return a.setUpBroker(cmd.Context(), c)
	})
	return cmd
}

func (a *app) setUpBroker(ctx context.Context, c config.Config) error {
	nc, err := setup.Connect(c, server.UserAdmin, a.logger(c))
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := setup.JetStream(c, nc)
	if err != nil {
		return err
	}
	t := setup.Topology(c)
	t.Verifier, t.Restores, t.Notifications = true, true, nil
	for _, channel := range notify.Channels() {
		t.Notifications = append(t.Notifications, string(channel))
	}
	if err := broker.Provision(ctx, js, t); err != nil {
		return err
	}
	err = broker.ProvisionSchedules(ctx, js, t)
	if errors.Is(err, broker.ErrNoSchedules) {
		fmt.Fprintln(a.stderr, "no schedules:", err)
	} else if err != nil {
		return err
	}
	return a.print(map[string]string{"broker": nc.ConnectedUrlRedacted(), "status": "ok"}, fmt.Sprintf("%s has the streams and consumers\n", nc.ConnectedUrlRedacted()))
}
