package api

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/api/access"
)

// Notice is a notification of an event for one recipient.
type Notice struct {
	Key       string     `json:"key" doc:"Names the notification"`
	State     string     `json:"state" enum:"parked,waiting,sent"`
	Channel   string     `json:"channel" example:"email"`
	Recipient string     `json:"recipient" doc:"A mail address, the id of a chat, the name of a hook, or operator"`
	Project   string     `json:"project_id"`
	Request   string     `json:"request_id"`
	Tries     int        `json:"tries" doc:"That failed"`
	Cause     string     `json:"cause,omitempty" doc:"Why the last try failed, or why it is parked"`
	UpdatedAt time.Time  `json:"updated_at"`
	NextTryAt *time.Time `json:"next_try_at,omitempty" doc:"Absent: it does not wait for one"`
}

// Notices are the notifications of this platform. Errors: ErrNoNotice, ErrNoticeSent,
// ErrNoticeChanged, ErrNoticeRight.
type Notices interface {
	// List returns the notifications, the last changed first; of the sent ones the newest. Until all are
	// read, those that have not changed since a time may be missing. Zero: none is.
	List(ctx context.Context) (all []Notice, since time.Time, err error)
	// Find returns the notification with a key.
	Find(ctx context.Context, key string) (Notice, error)
	// Replay puts a parked notification into the queue again.
	Replay(ctx context.Context, key string) error
}

var (
	// ErrNoNotice means that no notification has the key, or that its event is no longer kept.
	ErrNoNotice = errors.New("no such notification")
	// ErrNoticeSent means that a notification was delivered: there is nothing to replay.
	ErrNoticeSent = errors.New("the notification was delivered")
	// ErrNoticeChanged means that another process changed the notification at the same time.
	ErrNoticeChanged = errors.New("the notification was changed meanwhile")
	// ErrNoticeRight means that the broker's login of this process lacks the right.
	ErrNoticeRight = errors.New("the broker's login has no right to the notifications")
)

var errNoNotices = problem(http.StatusNotImplemented, codeUnsupported, "this server does not read notifications")

// NoticePath names a notification.
type NoticePath struct {
	ProjectPath
	Key string `path:"key" doc:"Key of the notification" maxLength:"100" example:"email-6bmqz5vjv2cnjv7x2jkn3y4f5e"`
}

type listNoticesInput struct {
	ProjectPath
	State []string `query:"state" doc:"Only these states, separated by commas" enum:"parked,waiting,sent"`
}

type noticesOutput struct {
	Body struct {
		Notifications []Notice   `json:"notifications" nullable:"false"`
		Since         *time.Time `json:"since,omitempty" doc:"Notifications that have not changed since then may be missing: they are still being read. Absent: all were read"`
	}
}

type noticeOutput struct{ Body Notice }

// mostNotices bounds the notifications of one answer.
const mostNotices = 200

const noticesPath = "/v1/projects/{project}/notifications"

func (a *API) registerNotices(operations huma.API) {
	op := a.operation(ListNotices, http.MethodGet, noticesPath, "List notifications",
		"The last changed first, at most 200; of the sent ones of all projects the newest 5000. A parked one was refused for good, or its tries are used up.", access.Operate)
	huma.Register(operations, op, func(ctx context.Context, in *listNoticesInput) (*noticesOutput, error) {
		all, since, err := a.notices(ctx, func(n Notice) bool {
			return n.Project == in.Project && (len(in.State) == 0 || slices.Contains(in.State, n.State))
		})
		if err != nil {
			return nil, err
		}
		out := &noticesOutput{}
		if !since.IsZero() {
			out.Body.Since = &since
		}
		out.Body.Notifications = append([]Notice{}, all[:min(len(all), mostNotices)]...)
		return out, nil
	})
	op = a.operation(ReplayNotice, http.MethodPost, noticesPath+"/{key}/replay", "Deliver a parked notification again",
		"It is queued with all its tries before it, under the same Message-ID or webhook-id. One that waits stays as it is.", access.Operate)
	op.DefaultStatus = http.StatusAccepted
	huma.Register(operations, op, a.replayNotice)
}

// notices returns the notifications that are wanted, and since when. See Notices.List. The error is a
// *Problem.
func (a *API) notices(ctx context.Context, wanted func(Notice) bool) ([]Notice, time.Time, error) {
	if a.Notices == nil {
		return nil, time.Time{}, errNoNotices
	}
	if err := a.connected(); err != nil {
		return nil, time.Time{}, err
	}
	all, since, err := a.Notices.List(ctx)
	if err != nil {
		return nil, time.Time{}, a.problemOf(ctx, err)
	}
	return slices.DeleteFunc(all, func(n Notice) bool { return !wanted(n) }), since, nil
}

// notice returns a notification of a project. The error is a *Problem.
func (a *API) notice(ctx context.Context, in NoticePath) (Notice, error) {
	if a.Notices == nil {
		return Notice{}, errNoNotices
	}
	if !events.ValidRequest(in.Key) { // the same alphabet
		return Notice{}, a.problemOf(ctx, ErrNoNotice)
	}
	if err := a.connected(); err != nil {
		return Notice{}, err
	}
	n, err := a.Notices.Find(ctx, in.Key)
	if err == nil && n.Project != in.Project { // answered as a missing one
		err = ErrNoNotice
	}
	if err != nil {
		return Notice{}, a.problemOf(ctx, err)
	}
	return n, nil
}

func (a *API) replayNotice(ctx context.Context, in *NoticePath) (*noticeOutput, error) {
	n, err := a.notice(ctx, *in)
	if err != nil {
		return nil, err
	}
	if n.State == "sent" {
		return nil, a.problemOf(ctx, ErrNoticeSent)
	}
	err = a.noted(ctx, callerOf(ctx).call(ReplayNotice, in.Project, in.Key), func() error { return a.Notices.Replay(ctx, in.Key) })
	if err != nil {
		return nil, err
	}
	if now, err := a.Notices.Find(ctx, in.Key); err == nil { // else it is shown as it was before
		n = now
	}
	return &noticeOutput{n}, nil
}

// HasNotices reports whether this process can read notifications.
func (o Operations) HasNotices() bool { return o.api.Notices != nil }

// Notices returns the notifications of the caller's projects, the last changed first, and since when. See
// Notices.List.
func (o Operations) Notices(ctx context.Context) ([]Notice, time.Time, error) {
	if !o.MayAny(ListNotices) {
		return nil, time.Time{}, errForbidden
	}
	return o.api.notices(ctx, func(n Notice) bool { return o.May(ListNotices, n.Project) })
}

// Notice returns a notification.
func (o Operations) Notice(ctx context.Context, at NoticePath) (Notice, error) {
	ctx, err := o.check(ctx, ReplayNotice, at.Project)
	if err != nil {
		return Notice{}, err
	}
	return o.api.notice(ctx, at)
}

// ReplayNotice puts a parked notification into the queue again.
func (o Operations) ReplayNotice(ctx context.Context, at NoticePath) error {
	ctx, err := o.check(ctx, ReplayNotice, at.Project)
	if err != nil {
		return err
	}
	_, err = o.api.replayNotice(ctx, &at)
	return err
}
