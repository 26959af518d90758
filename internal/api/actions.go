package api

import (
	"context"

	"github.com/pgcourier/pgcourier/events"
)

// Create asks for an export. body is that of the operation create-export.
func (o Operations) Create(ctx context.Context, project string, body []byte) (Export, error) {
	ctx, err := o.check(ctx, CreateExport, project)
	if err != nil {
		return Export{}, err
	}
	if !events.ValidProject(project) {
		return Export{}, invalidParameter("project", "must be 1 to 100 letters, digits, \"_\" or \"-\"")
	}
	out, err := o.api.create(ctx, &createInput{ProjectPath: ProjectPath{project}, RawBody: body, header: map[string]string{}})
	if err != nil {
		return Export{}, err
	}
	return out.Body, nil
}

// Cancel cancels an export.
func (o Operations) Cancel(ctx context.Context, at ExportPath) (Export, error) {
	ctx, err := o.check(ctx, CancelExport, at.Project)
	if err != nil {
		return Export{}, err
	}
	out, err := o.api.cancel(ctx, &at)
	if err != nil {
		return Export{}, err
	}
	return out.Body, nil
}

// Replay asks for a failed export again. It returns the new export, or the earlier replay that
// completed.
func (o Operations) Replay(ctx context.Context, at ExportPath) (Export, error) {
	ctx, err := o.check(ctx, ReplayExport, at.Project)
	if err != nil {
		return Export{}, err
	}
	out, err := o.api.replay(ctx, &at)
	if err != nil {
		return Export{}, err
	}
	return out.Body, nil
}

// Delete orders the deletion of a stored export.
func (o Operations) Delete(ctx context.Context, at ExportPath) error {
	ctx, err := o.check(ctx, DeleteExport, at.Project)
	if err != nil {
		return err
	}
	_, err = o.api.remove(ctx, &at)
	return err
}

// Verify orders the verification of a stored export.
func (o Operations) Verify(ctx context.Context, at ExportPath) error {
	ctx, err := o.check(ctx, VerifyExport, at.Project)
	if err != nil {
		return err
	}
	_, err = o.api.verify(ctx, &at)
	return err
}

// LinkTerms are the bounds of a new link. Empty ones are the defaults of the operation create-link.
type LinkTerms struct {
	TTL          string
	MaxDownloads int
	NotifyEmail  string
}

// CreateLink issues a download link and returns it with its URL.
func (o Operations) CreateLink(ctx context.Context, at ExportPath, terms LinkTerms) (Link, error) {
	ctx, err := o.check(ctx, CreateLink, at.Project)
	if err != nil {
		return Link{}, err
	}
	in := &createLinkInput{ExportPath: at}
	in.Body.TTL, in.Body.MaxDownloads, in.Body.NotifyEmail = terms.TTL, terms.MaxDownloads, terms.NotifyEmail
	out, err := o.api.createLink(ctx, in)
	if err != nil {
		return Link{}, err
	}
	return out.Body, nil
}

// RevokeLink revokes a download link.
func (o Operations) RevokeLink(ctx context.Context, at ExportPath, link string) error {
	ctx, err := o.check(ctx, RevokeLink, at.Project)
	if err != nil {
		return err
	}
	_, err = o.api.revokeLink(ctx, &LinkPath{at, link})
	return err
}

// PauseSchedule stops a schedule, or lets it continue.
func (o Operations) PauseSchedule(ctx context.Context, at SchedulePath, paused bool) error {
	ctx, err := o.check(ctx, PauseSchedule, at.Project)
	if err != nil {
		return err
	}
	return o.api.pause(ctx, at, paused)
}

// DeleteSchedule removes a schedule.
func (o Operations) DeleteSchedule(ctx context.Context, at SchedulePath) error {
	ctx, err := o.check(ctx, DeleteSchedule, at.Project)
	if err != nil {
		return err
	}
	_, err = o.api.deleteSchedule(ctx, &at)
	return err
}
