package ledger_test

import (
	"errors"
	"testing"
	"time"

	"github.com/pgcourier/pgcourier/internal/api/access"
)

func TestTokensAreKeptByTheirHashAlone(t *testing.T) {
	t.Parallel()
	b := setup(t)
	secret, hash := access.NewSecret()
	made, err := b.AddToken(t.Context(), access.Token{ID: "one", Project: "acme", Scopes: []access.Scope{access.Export, access.Read}, Label: "a\x00b", CreatedBy: "ann"}, hash, time.Hour)
	if err != nil || made.Label != "ab" || made.ExpiresAt == nil || made.ExpiresAt.Sub(made.CreatedAt).Round(time.Minute) != time.Hour {
		t.Fatalf("made %+v, %v", made, err)
	}
	var held int
	b.scan(t, "SELECT count(*) FROM pgcourier.api_tokens t WHERE t::text LIKE '%"+secret.Reveal()[4:20]+"%'", &held)
	if held != 0 {
		t.Error("the table holds the token")
	}
	found, err := b.FindToken(t.Context(), hash)
	if err != nil || found.ID != "one" || !found.Grant().Allows("acme", access.Export) || found.Grant().Subject != "token:one" {
		t.Errorf("found %+v, %v", found, err)
	}
	if _, other := access.NewSecret(); !errors.Is(second(b.FindToken(t.Context(), other)), access.ErrUnknownToken) {
		t.Error("a token is found by another's hash")
	}
	// A second token with the same hash is refused.
	if _, err := b.AddToken(t.Context(), access.Token{ID: "two", Project: "*", Scopes: []access.Scope{access.Read}}, hash, 0); err == nil {
		t.Error("two tokens have one hash")
	}
}

func TestARevokedOrExpiredTokenIsAsAnUnknownOne(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, one := access.NewSecret()
	_, two := access.NewSecret()
	for id, hash := range map[string]access.Hash{"one": one, "two": two} {
		if _, err := b.AddToken(t.Context(), access.Token{ID: id, Project: "acme", Scopes: []access.Scope{access.Read}}, hash, 0); err != nil {
			t.Fatal(err)
		}
	}
	revoked, err := b.RevokeToken(t.Context(), "one", "ann")
	if err != nil || revoked.RevokedAt == nil || revoked.RevokedBy != "ann" {
		t.Errorf("revoked %+v, %v", revoked, err)
	}
	again, err := b.RevokeToken(t.Context(), "one", "bob")
	if err != nil || !again.RevokedAt.Equal(*revoked.RevokedAt) || again.RevokedBy != "ann" {
		t.Errorf("revoked again %+v, %v", again, err)
	}
	b.exec(t, "UPDATE pgcourier.api_tokens SET expires_at = clock_timestamp() WHERE token_id = 'two'")
	for _, hash := range []access.Hash{one, two} {
		if _, err := b.FindToken(t.Context(), hash); !errors.Is(err, access.ErrUnknownToken) {
			t.Errorf("found with %v", err)
		}
	}
	if _, err := b.RevokeToken(t.Context(), "none", ""); !errors.Is(err, access.ErrNoToken) {
		t.Errorf("revoking no token: %v", err)
	}
	all, err := b.Tokens(t.Context(), "")
	if err != nil || len(all) != 2 {
		t.Errorf("listed %+v, %v", all, err)
	}
	if of, err := b.Tokens(t.Context(), "globex"); err != nil || len(of) != 0 {
		t.Errorf("listed of another project %+v, %v", of, err)
	}
}

func TestTheUseOfATokenIsNotedOnceAMinute(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, hash := access.NewSecret()
	if _, err := b.AddToken(t.Context(), access.Token{ID: "one", Project: "acme", Scopes: []access.Scope{access.Read}}, hash, 0); err != nil {
		t.Fatal(err)
	}
	from := func(address string) string {
		t.Helper()
		if err := b.TokenUsed(t.Context(), "one", address); err != nil {
			t.Fatal(err)
		}
		found, err := b.FindToken(t.Context(), hash)
		if err != nil || found.LastUsedAt == nil {
			t.Fatalf("found %+v, %v", found, err)
		}
		return found.LastUsedFrom
	}
	if got := from("192.0.2.1"); got != "192.0.2.1" {
		t.Errorf("used from %q", got)
	}
	if got := from("192.0.2.2"); got != "192.0.2.1" {
		t.Errorf("noted again within a minute, from %q", got)
	}
	b.exec(t, "UPDATE pgcourier.api_tokens SET last_used_at = last_used_at - interval '2 minutes'")
	if got := from("192.0.2.2"); got != "192.0.2.2" {
		t.Errorf("not noted after a minute: %q", got)
	}
}

func second[T any](_ T, err error) error { return err }
