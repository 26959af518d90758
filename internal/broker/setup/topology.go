package setup

import (
	"slices"

	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/config"
	"github.com/pgcourier/pgcourier/internal/notify"
)

// Topology returns the streams and consumers that the roles of c need.
func Topology(c config.Config) broker.Topology {
	t := broker.Topology{
		MaxBytes: int64(c.NATSMaxBytes), MaxAckPending: c.NATSMaxAcks,
		Replicas: c.NATSReplicas, MaxWaitingPerProject: int64(c.MaxWaitingPerProject),
		OutcomeRetention: c.OutcomeRetention, EventRetention: c.EventRetention, AckWait: c.AckWait,
		Verifier: c.Serves(config.RoleVerifier), Restores: c.Serves(config.RoleRestorer),
	}
	for _, channel := range Channels(c) {
		t.Notifications = append(t.Notifications, string(channel))
	}
	return t
}

// Channels returns the channels of a notifier of c, in the order of their names. Empty: no role of
// c is a notifier.
func Channels(c config.Config) []notify.Channel {
	if !c.Serves(config.RoleNotifier) {
		return nil
	}
	var out []notify.Channel
	for channel, set := range map[notify.Channel]bool{
		notify.Email: c.SMTPURL != "", notify.Webhook: c.WebhookURL != "", notify.Telegram: c.TelegramChat != "", notify.Hook: c.NotifyHooks != "",
	} {
		if set {
			out = append(out, channel)
		}
	}
	slices.Sort(out)
	return out
}
