package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/pgcourier/pgcourier/internal/dev/smtptest"
)

func noticeFaults() []fault {
	return []fault{{
		name: "notices-hung", about: "mail server and webhook take connections and never answer, over a restart of every worker",
		unpublished: true, firstAttempt: true, prepare: prepareNotices, strike: noticesHung,
	}}
}

const (
	// noticesDrain is the workers' DRAIN_TIMEOUT. noticesSlack is the additional time that the end of
	// a process may take on a busy machine.
	noticesDrain = 5 * time.Second
	noticesSlack = 5 * time.Second
)

// prepareNotices starts a mail server and a webhook that hang, and configures the workers with
// them. One attempt may last longer than the drain.
func prepareNotices(_ context.Context, w *world) (err error) {
	w.post = &post{told: map[string]bool{}, gate: make(chan struct{})}
	w.undo = append(w.undo, w.post.close)
	if w.post.mail, err = smtptest.Start(smtptest.Config{Plain: true}); err != nil {
		return err
	}
	if err = w.post.mail.Down(); err != nil {
		return err
	}
	if w.post.mute, err = listenMute(w.post.mail.Addr()); err != nil {
		return err
	}
	if err = w.post.listen(); err != nil {
		return err
	}
	w.settings = append(w.settings,
		"PGCOURIER_SMTP_URL=smtp://"+w.post.mail.Addr()+"?tls=none&from=backups@example.org",
		"PGCOURIER_OPERATOR_EMAIL=operator@example.org", "PGCOURIER_NOTIFY_COMPLETED=true",
		"PGCOURIER_WEBHOOK_URL=http://"+w.post.hook.Addr+"/hook",
		"PGCOURIER_WEBHOOK_SECRET=whsec_"+base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("k"), 32)),
		"PGCOURIER_NOTIFY_TIMEOUT=1m", "PGCOURIER_NOTIFY_BACKOFF=1s", "PGCOURIER_NOTIFY_DIGEST=0s", "PGCOURIER_DRAIN_TIMEOUT="+noticesDrain.String(),
	)
	return nil
}

// noticesHung lets all exports end while no notification is delivered. It ends the workers, which
// must not wait for the servers, and expects each notification once the servers answer.
func noticesHung(ctx context.Context, w *world) error {
	if err := errors.Join(w.publish(ctx, w.jobs), w.finished(ctx, len(w.jobs))); err != nil {
		return err
	}
	err := until(ctx, timeout(0), "both servers to be met", func(context.Context) (bool, error) {
		mails, hooks := w.post.mute.taken(), w.post.waiting()
		return mails > 0 && hooks > 0, fmt.Errorf("%d connections to the mail server, %d calls of the webhook", mails, hooks)
	})
	if err != nil {
		return err
	}
	for _, k := range w.workers {
		begun := time.Now()
		ended := k.process.end(noticesDrain + noticesSlack)
		w.lab.options.log.InfoContext(ctx, "worker ended beside servers that hang", "worker", k.number, "took", time.Since(begun).Round(10*time.Millisecond))
		err = errors.Join(err, ended)
	}
	err = errors.Join(err, w.post.answer())
	w.heal()
	for _, k := range w.workers {
		err = errors.Join(err, k.restart(ctx))
	}
	if err != nil {
		return err
	}
	return until(ctx, timeout(len(w.jobs)), "every notice", func(context.Context) (bool, error) {
		missing := w.post.missing(w.jobs)
		return len(missing) == 0, fmt.Errorf("missing: %q", missing)
	})
}

// post holds the receivers of notifications.
type post struct {
	mail *smtptest.Server
	mute *mute // in the mail server's place, while it hangs
	hook *http.Server

	gate chan struct{} // closed when the webhook begins to answer

	mu   sync.Mutex
	hung int             // calls of the webhook that had no answer at once
	told map[string]bool // bodies that the webhook accepted
}

// listen starts the webhook, which answers once the gate is open.
func (p *post) listen() error {
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", net.JoinHostPort(loopback, "0"))
	if err != nil {
		return err
	}
	p.hook = &http.Server{Addr: l.Addr().String(), Handler: http.HandlerFunc(p.take), ReadHeaderTimeout: time.Minute}
	go func() { _ = p.hook.Serve(l) }() // until close
	return nil
}

// take is one call of the webhook.
func (p *post) take(rw http.ResponseWriter, r *http.Request) {
	var body bytes.Buffer
	if _, err := body.ReadFrom(http.MaxBytesReader(rw, r.Body, 1<<20)); err != nil {
		return
	}
	select {
	case <-p.gate:
	default:
		p.mu.Lock()
		p.hung++
		p.mu.Unlock()
		select {
		case <-p.gate:
		case <-r.Context().Done():
			return
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.told[body.String()] = true
}

func (p *post) waiting() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.hung
}

// answer makes both servers answer from now on.
func (p *post) answer() error {
	p.mute.close()
	close(p.gate)
	return p.mail.Up()
}

// missing returns the requests without a mail or a webhook call.
func (p *post) missing(jobs []job) (out []string) {
	var mails [][]byte
	for _, m := range p.mail.Mails() {
		mails = append(mails, bytes.ReplaceAll(m.Data, []byte("=\r\n"), nil)) // quoted-printable's soft breaks
	}
	p.mu.Lock()
	var calls [][]byte
	for body := range p.told {
		calls = append(calls, []byte(body))
	}
	p.mu.Unlock()
	for _, j := range jobs {
		for channel, texts := range map[string][][]byte{"mail": mails, "webhook": calls} {
			if !slices.ContainsFunc(texts, func(text []byte) bool { return names(text, j.RequestID) }) {
				out = append(out, channel+" of "+j.RequestID)
			}
		}
	}
	slices.Sort(out)
	return out
}

// names reports whether a text contains an id that is not followed by a digit.
func names(text []byte, id string) bool {
	for {
		_, after, found := bytes.Cut(text, []byte(id))
		if !found {
			return false
		}
		if len(after) == 0 || after[0] < '0' || after[0] > '9' {
			return true
		}
		text = after
	}
}

func (p *post) close() error {
	if p.mute != nil {
		p.mute.close()
	}
	var err error
	if p.hook != nil {
		err = p.hook.Close()
	}
	if p.mail != nil {
		err = errors.Join(err, p.mail.Close())
	}
	return err
}

// mute accepts connections and never answers on them.
type mute struct {
	listener net.Listener
	mu       sync.Mutex
	conns    []net.Conn
}

func listenMute(address string) (*mute, error) {
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", address)
	if err != nil {
		return nil, err
	}
	m := &mute{listener: l}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			m.mu.Lock()
			m.conns = append(m.conns, c)
			m.mu.Unlock()
		}
	}()
	return m, nil
}

func (m *mute) taken() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.conns)
}

// close closes the connections too. It can be called more than once.
func (m *mute) close() {
	_ = m.listener.Close() // closed for good
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range m.conns {
		_ = c.Close() // nothing was written
	}
}
