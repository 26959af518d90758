package api

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/api/access"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/handover"
)

// Handover serves the files, links and receipts of exports.
type Handover struct {
	Links *handover.Links
	// Files serves /d/ and the files of exports.
	Files *handover.Handler
	// Receipt returns the receipt of an export, or with verified the one of its verification.
	// handover.ErrNoExport: there is none.
	Receipt func(ctx context.Context, id export.ID, verified bool) ([]byte, error)
}

// Link is a download link in responses.
type Link struct {
	handover.Link
	State string `json:"state" enum:"valid,expired,revoked,used"`
	// URL is set only in the response that issues the link.
	URL string `json:"url,omitempty" doc:"The link itself; shown once"`
}

type createLinkInput struct {
	ExportPath
	Body struct {
		TTL          string `json:"ttl,omitempty" doc:"How long it is valid, from 1m to 366d. Default: 7d" maxLength:"10" example:"48h"`
		MaxDownloads int    `json:"max_downloads,omitempty" doc:"How often the file can be fetched. Absent: no limit" minimum:"1" maximum:"1000000"`
		NotifyEmail  string `json:"notify_email,omitempty" doc:"Address that a notifier sends it to" maxLength:"254"`
	} `required:"false"`
}

// LinkPath names a link.
type LinkPath struct {
	ExportPath
	Link string `path:"link" doc:"Link id" maxLength:"100"`
}

type linkOutput struct{ Body Link }

type linksOutput struct {
	Body struct {
		Links []Link `json:"links" nullable:"false"`
	}
}

type receiptInput struct {
	ExportPath
	Of string `query:"of" doc:"export, or verification for what a verifier has signed" enum:"export,verification" default:"export"`
}

type receiptOutput struct {
	ContentType string `header:"Content-Type"`
	Body        []byte
}

type fileOutput struct {
	Body func(huma.Context)
}

const linksPath = exportPath + "/links"

func (a *API) registerLinks(operations huma.API) {
	op := a.operation("create-link", http.MethodPost, linksPath, "Make a download link", "The link is shown in this answer only.", access.Download)
	op.DefaultStatus = http.StatusCreated
	op.Middlewares = append(op.Middlewares, readBody)
	huma.Register(operations, op, a.createLink)
	op = a.operation("list-links", http.MethodGet, linksPath, "List the download links of an export", "", access.Read, access.Download)
	huma.Register(operations, op, a.listLinks)
	op = a.operation("revoke-link", http.MethodDelete, linksPath+"/{link}", "Revoke a download link", "", access.Download)
	huma.Register(operations, op, a.revokeLink)
	op = a.operation("get-file", http.MethodGet, exportPath+"/file", "Fetch an export",
		"The stored bytes: encrypted where the export is. Ranges resume a transfer.", access.Download)
	op.Responses["200"] = &huma.Response{Description: "The file", Content: fileMedia()}
	op.Responses["206"] = &huma.Response{Description: "The part of the file that Range asks for", Content: fileMedia()}
	op.Responses["303"] = &huma.Response{Description: "The file is at Location, in the storage itself"}
	op.Responses["416"] = &huma.Response{
		Description: "The file has no such range",
		Content:     map[string]*huma.MediaType{"text/plain": {Schema: &huma.Schema{Type: huma.TypeString}}},
	}
	huma.Register(operations, op, a.file)
	op = a.operation("get-receipt", http.MethodGet, exportPath+"/receipt", "Fetch the receipt of an export",
		"A DSSE envelope over an in-toto statement, signed by the worker or the verifier.", access.Read)
	op.Responses["200"] = &huma.Response{Description: "The receipt", Content: map[string]*huma.MediaType{"application/json": {Schema: &huma.Schema{Type: "object"}}}}
	huma.Register(operations, op, a.receipt)
}

// fileMedia are the media types that a stored file can have.
func fileMedia() map[string]*huma.MediaType {
	all := map[string]*huma.MediaType{}
	for _, name := range []string{"application/octet-stream", "application/gzip", "application/zstd", "application/sql", "application/x-tar"} {
		all[name] = &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}
	}
	return all
}

var errNoHandover = problem(http.StatusNotImplemented, codeUnsupported, "this server hands no exports over")

// handed returns the problem for an error of package handover.
func (a *API) handed(ctx context.Context, err error) error {
	switch {
	case errors.Is(err, handover.ErrNoExport):
		return errNotFound
	case errors.Is(err, handover.ErrNoLink):
		return problem(http.StatusNotFound, codeNotFound, "there is no such link")
	case errors.Is(err, handover.ErrBadLink):
		return problem(http.StatusUnprocessableEntity, codes.InvalidRequest, err.Error())
	}
	return a.problemOf(ctx, err)
}

func linkOf(l handover.Link, url string) Link {
	return Link{Link: l, State: l.State(time.Now()), URL: url}
}

// handedOver returns the id of a path's export. Errors: this server hands no exports over, or the
// names are not valid ids.
func (a *API) handedOver(in ExportPath) (export.ID, error) {
	switch {
	case a.Handover == nil:
		return export.ID{}, errNoHandover
	case !events.ValidProject(in.Project) || !events.ValidRequest(in.ID):
		return export.ID{}, errNotFound
	}
	return export.ID{Project: in.Project, Request: in.ID}, nil
}

func (a *API) createLink(ctx context.Context, in *createLinkInput) (*linkOutput, error) {
	id, err := a.handedOver(in.ExportPath)
	if err != nil {
		return nil, err
	}
	r := handover.IssueRequest{ID: id, By: callerOf(ctx).Subject, MaxDownloads: in.Body.MaxDownloads, NotifyEmail: in.Body.NotifyEmail}
	if in.Body.TTL != "" {
		var ok bool
		if r.TTL, ok = events.ParseTTL(in.Body.TTL); !ok {
			return nil, invalidParameter("ttl", "must be a time such as 48h or 7d, from 1 minute to 366 days")
		}
	}
	var out *linkOutput
	err = a.noted(ctx, callerOf(ctx).call(CreateLink, in.Project, in.ID), func() error {
		link, url, err := a.Handover.Links.Issue(ctx, r)
		if err != nil {
			return a.handed(ctx, err)
		}
		out = &linkOutput{linkOf(link, url)}
		return nil
	})
	return out, err
}

func (a *API) listLinks(ctx context.Context, in *ExportPath) (*linksOutput, error) {
	out := &linksOutput{}
	out.Body.Links = []Link{}
	id, err := a.handedOver(*in)
	if err != nil {
		return nil, err
	}
	all, err := a.Handover.Links.List(ctx, id)
	if err != nil {
		return nil, a.handed(ctx, err)
	}
	for _, l := range all {
		out.Body.Links = append(out.Body.Links, linkOf(l, ""))
	}
	return out, nil
}

func (a *API) revokeLink(ctx context.Context, in *LinkPath) (*linkOutput, error) {
	id, err := a.handedOver(in.ExportPath)
	if err != nil {
		return nil, err
	}
	// A link of another export is answered as a missing one.
	all, err := a.Handover.Links.List(ctx, id)
	if err != nil {
		return nil, a.handed(ctx, err)
	}
	for _, l := range all {
		if l.ID != in.Link || l.Request != in.ID {
			continue
		}
		c := callerOf(ctx)
		var out *linkOutput
		err := a.noted(ctx, c.call(RevokeLink, in.Project, in.Link), func() error {
			revoked, err := a.Handover.Links.Revoke(ctx, in.Project, in.Link, c.Subject)
			if err != nil {
				return a.handed(ctx, err)
			}
			out = &linkOutput{linkOf(revoked, "")}
			return nil
		})
		return out, err
	}
	return nil, a.handed(ctx, handover.ErrNoLink)
}

func (a *API) file(_ context.Context, in *ExportPath) (*fileOutput, error) {
	id, err := a.handedOver(*in)
	if err != nil {
		return nil, err
	}
	return &fileOutput{func(ctx huma.Context) {
		r, w := humago.Unwrap(ctx)
		err := a.Handover.Files.ServeFile(w, r, id, callerOf(ctx.Context()).Subject)
		if err != nil {
			writeProblem(w, a.problemOf(ctx.Context(), a.handed(ctx.Context(), err)))
		}
	}}, nil
}

func (a *API) receipt(ctx context.Context, in *receiptInput) (*receiptOutput, error) {
	id, err := a.handedOver(in.ExportPath)
	if err != nil {
		return nil, err
	}
	b, err := a.Handover.Receipt(ctx, id, in.Of == "verification")
	if err != nil {
		return nil, a.handed(ctx, err)
	}
	return &receiptOutput{"application/json", b}, nil
}
