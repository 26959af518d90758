package api

import (
	"context"
	"net/http"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/api/access"
)

// Token is a token of the API in responses.
type Token struct {
	ID           string         `json:"id" example:"k3j9x7q2m4"`
	Project      string         `json:"project_id" doc:"* for all projects"`
	Scopes       []access.Scope `json:"scopes" nullable:"false" enum:"export,read,download,operate,restore,admin"`
	State        string         `json:"state" enum:"active,expired,revoked"`
	Label        string         `json:"label,omitempty" doc:"What it is used for"`
	CreatedAt    time.Time      `json:"created_at"`
	CreatedBy    string         `json:"created_by,omitempty"`
	ExpiresAt    *time.Time     `json:"expires_at,omitempty" doc:"Absent: never"`
	RevokedAt    *time.Time     `json:"revoked_at,omitempty"`
	RevokedBy    string         `json:"revoked_by,omitempty"`
	LastUsedAt   *time.Time     `json:"last_used_at,omitempty" doc:"To the minute"`
	LastUsedFrom string         `json:"last_used_from,omitempty"`
	// Secret is set only in the response that makes the token.
	Secret string `json:"token,omitempty" doc:"The token itself; shown once"`
}

func tokenOf(t access.Token) Token {
	return Token{
		ID: t.ID, Project: t.Project, Scopes: append([]access.Scope{}, t.Scopes...), State: t.State(time.Now()), Label: t.Label, CreatedAt: t.CreatedAt, CreatedBy: t.CreatedBy,
		ExpiresAt: t.ExpiresAt, RevokedAt: t.RevokedAt, RevokedBy: t.RevokedBy, LastUsedAt: t.LastUsedAt, LastUsedFrom: t.LastUsedFrom,
	}
}

// TokenProject names the project of tokens.
type TokenProject struct {
	Project string `path:"project" doc:"Project id; * for the tokens of all projects, which only a caller for all projects may name" example:"acme"`
}

// TokenPath names a token.
type TokenPath struct {
	TokenProject
	ID string `path:"id" doc:"Token id, not the token" maxLength:"100" example:"k3j9x7q2m4"`
}

type createTokenInput struct {
	TokenProject
	Body TokenTerms
}

// TokenTerms are what a new token is for.
type TokenTerms struct {
	Scopes  []string `json:"scopes" doc:"What it is for; none that the caller lacks" minItems:"1" maxItems:"6" enum:"export,read,download,operate,restore,admin" nullable:"false"`
	Expires string   `json:"expires,omitempty" doc:"How long it is valid, such as 12h or 90d, at most 366d. Default: 90d" maxLength:"10" example:"90d"`
	Label   string   `json:"label,omitempty" doc:"What it is used for, for people" maxLength:"200" example:"nightly job"`
}

type tokenOutput struct{ Body Token }

type tokensOutput struct {
	Body struct {
		Tokens []Token `json:"tokens" nullable:"false"`
	}
}

const (
	tokenLife     = 90 * 24 * time.Hour
	longestToken  = 366 * 24 * time.Hour
	longestLabel  = 200                             // characters
	tokensPath    = "/v1/projects/{project}/tokens" //nolint:gosec // a path
	expiresAdvice = "must be a time such as 12h or 90d, up to 366 days"
)

var errNoToken = problem(http.StatusNotFound, codeNotFound, "there is no such token")

func (a *API) registerTokens(operations huma.API) {
	op := a.operation(ListTokens, http.MethodGet, tokensPath, "List the tokens of a project", "The newest first, without the tokens themselves.", access.Admin)
	huma.Register(operations, op, func(ctx context.Context, in *TokenProject) (*tokensOutput, error) {
		all, err := a.tokens(ctx, in.Project)
		if err != nil {
			return nil, err
		}
		out := &tokensOutput{}
		out.Body.Tokens = make([]Token, len(all))
		for i, t := range all {
			out.Body.Tokens[i] = tokenOf(t)
		}
		return out, nil
	})
	op = a.operation(CreateToken, http.MethodPost, tokensPath, "Make a token",
		"The answer holds the token; it cannot be shown again. It has no scope that the caller lacks. It stays valid when the caller's own token ends.", access.Admin)
	op.DefaultStatus = http.StatusCreated
	op.Middlewares = append(op.Middlewares, readBody)
	huma.Register(operations, op, a.createToken)
	op = a.operation(RevokeToken, http.MethodDelete, tokensPath+"/{id}", "Revoke a token",
		"It is refused from the next call on, also where it is the caller's own. It may be repeated.", access.Admin)
	huma.Register(operations, op, a.revokeToken)
}

// tokens returns the tokens of a project. The error is a *Problem.
func (a *API) tokens(ctx context.Context, project string) ([]access.Token, error) {
	if !validTokenProject(project) {
		return nil, nil
	}
	all, err := a.Ledger.Tokens(ctx, project)
	if err != nil {
		return nil, a.problemOf(ctx, err)
	}
	return all, nil
}

func validTokenProject(project string) bool {
	return project == access.AllProjects || events.ValidProject(project)
}

func (a *API) createToken(ctx context.Context, in *createTokenInput) (*tokenOutput, error) {
	if !validTokenProject(in.Project) {
		return nil, invalidParameter("project", "must be 1 to 100 letters, digits, \"_\" or \"-\", or * for all projects")
	}
	scopes, err := access.ParseScopes(in.Body.Scopes)
	switch {
	case err != nil:
		return nil, invalidParameter("scopes", err.Error())
	case len(scopes) == 0:
		return nil, invalidParameter("scopes", "name at least one of export, read, download, operate, restore and admin")
	}
	c := callerOf(ctx)
	for _, s := range scopes {
		if !c.Allows(in.Project, s) {
			return nil, errForbidden
		}
	}
	valid := tokenLife
	if in.Body.Expires != "" {
		if valid, err = access.ParseExpiry(in.Body.Expires); err != nil || valid <= 0 || valid > longestToken {
			return nil, invalidParameter("expires", expiresAdvice)
		}
	}
	if utf8.RuneCountInString(in.Body.Label) > longestLabel {
		return nil, invalidParameter("label", "must have at most 200 characters")
	}
	secret, hash := access.NewSecret()
	t := access.Token{ID: access.NewTokenID(), Project: in.Project, Scopes: scopes, Label: in.Body.Label, CreatedBy: c.Subject}
	made, err := a.Ledger.AddTokenNoted(ctx, t, hash, valid, c.call(CreateToken, in.Project, t.ID))
	if err != nil {
		return nil, a.problemOf(ctx, err)
	}
	out := tokenOf(made)
	out.Secret = secret.Reveal()
	return &tokenOutput{out}, nil
}

func (a *API) revokeToken(ctx context.Context, in *TokenPath) (*tokenOutput, error) {
	all, err := a.tokens(ctx, in.Project)
	if err != nil {
		return nil, err
	}
	// A token of another project is answered as a missing one.
	if !slices.ContainsFunc(all, func(t access.Token) bool { return t.ID == in.ID }) {
		return nil, errNoToken
	}
	revoked, err := a.Ledger.RevokeTokenNoted(ctx, in.ID, callerOf(ctx).call(RevokeToken, in.Project, in.ID))
	if err != nil {
		return nil, a.problemOf(ctx, err)
	}
	return &tokenOutput{tokenOf(revoked)}, nil
}

// Tokens returns the tokens of the caller's projects. Tokens for all projects are returned only to a caller of all.
func (o Operations) Tokens(ctx context.Context) ([]access.Token, error) {
	projects, err := o.projects(ListTokens)
	if err != nil {
		return nil, err
	}
	if projects == nil {
		projects = []string{""}
	}
	var out []access.Token
	for _, p := range projects {
		some, err := o.api.Ledger.Tokens(ctx, p)
		if err != nil {
			return nil, o.api.problemOf(ctx, err)
		}
		out = append(out, some...)
	}
	return out, nil
}

// CreateToken makes a token and returns it with its secret.
func (o Operations) CreateToken(ctx context.Context, project string, terms TokenTerms) (Token, error) {
	ctx, err := o.check(ctx, CreateToken, project)
	if err != nil {
		return Token{}, err
	}
	out, err := o.api.createToken(ctx, &createTokenInput{TokenProject{project}, terms})
	if err != nil {
		return Token{}, err
	}
	return out.Body, nil
}

// RevokeToken revokes a token.
func (o Operations) RevokeToken(ctx context.Context, project, id string) error {
	ctx, err := o.check(ctx, RevokeToken, project)
	if err != nil {
		return err
	}
	_, err = o.api.revokeToken(ctx, &TokenPath{TokenProject{project}, id})
	return err
}
