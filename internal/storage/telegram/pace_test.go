package telegram_test

import (
	"sync"
	"testing"
	"time"

	"github.com/pgcourier/pgcourier/internal/dev/telegramtest"
	"github.com/pgcourier/pgcourier/internal/storage/telegram"
)

// A higher pace costs repeated uploads, and a much lower one time.
func TestPaceFitsTheKindOfChat(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		chat     int64
		messages int
		want     time.Duration
	}{
		"a private chat takes one a second": {private, 90, 89 * time.Second},
		"a few to a group go one a second":  {group, 20, 19 * time.Second},
		"many to a group go 20 a minute":    {group, 61, 3 * time.Minute},
		"a channel is as a group":           {channel, 61, 3 * time.Minute},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			for range tt.messages {
				if _, err := b.client.Send(t.Context(), tt.chat, upload([]byte("x"))); err != nil {
					t.Fatal(err)
				}
			}
			if got := b.clock.Now().Sub(epoch); got != tt.want {
				t.Errorf("took %v, want %v", got, tt.want)
			}
			if s := b.Stats(); s.Flooded != 0 {
				t.Errorf("%d answers to wait", s.Flooded)
			}
		})
	}
}

func TestConcurrentSendersShareOnePace(t *testing.T) {
	t.Parallel()
	b := setup(t)
	sendAll(t, b, b.client, b.client, b.client, b.client)
	if s := b.Stats(); s.Flooded != 0 {
		t.Errorf("%d answers to wait", s.Flooded)
	}
}

// Two processes do not know of each other; Telegram tells them to wait, and they obey.
func TestSeveralProcessesObey(t *testing.T) {
	t.Parallel()
	b := setup(t)
	one := telegram.ClientConfig{Attempts: 1}
	sendAll(t, b, b.newClient(t, one), b.newClient(t, one))
	if got := b.clock.Now().Sub(epoch); got < time.Minute {
		t.Errorf("40 messages to a group took %v only", got)
	}
}

// sendAll sends 40 messages to the group, shared among the clients.
func sendAll(t *testing.T, b *bench, clients ...*telegram.Client) {
	t.Helper()
	var wg sync.WaitGroup
	for _, c := range clients {
		wg.Go(func() {
			for range 40 / len(clients) {
				if _, err := c.Send(t.Context(), group, upload([]byte("x"))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if n := len(b.Messages(group)); n != 40 {
		t.Errorf("the group holds %d messages, want 40", n)
	}
}

func TestChatsDoNotSlowEachOther(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, chat := range []int64{channel, group, private} {
		if _, err := b.client.Send(t.Context(), chat, upload([]byte("x"))); err != nil {
			t.Fatal(err)
		}
	}
	if got := b.clock.Now().Sub(epoch); got != 0 {
		t.Errorf("one message to each of three chats took %v", got)
	}
}

func TestRetryAfterHoldsForTheWholeChat(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Inject(telegramtest.Fault{Kind: telegramtest.TooManyRequests, RetryAfter: time.Minute})
	for range 3 {
		if _, err := b.client.Send(t.Context(), private, upload([]byte("x"))); err != nil {
			t.Fatal(err)
		}
	}
	if s := b.Stats(); s.Impatient != 0 || s.Requests["sendDocument"] != 4 {
		t.Errorf("%d requests, %d of them too early; want 4 and none", s.Requests["sendDocument"], s.Impatient)
	}
}
