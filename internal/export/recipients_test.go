package export_test

import (
	"context"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"filippo.io/age"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/delivery"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/seal"
)

// owned is a control plane with one project that names recipients.
type owned []string

func (o owned) Lookup(context.Context, string) (export.Project, error) {
	return export.Project{ID: "p", Schemas: []string{"s"}, Recipients: o}, nil
}

func identity(t *testing.T) *age.X25519Identity {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func parsed(t *testing.T, lines ...string) []seal.Recipient {
	t.Helper()
	r, err := seal.ParseRecipients(lines)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestAnExportIsEncryptedToOperatorProjectAndRequest(t *testing.T) {
	t.Parallel()
	operator, project, requester, other := identity(t), identity(t), identity(t), identity(t)
	synctest.Test(t, func(t *testing.T) {
		b := newBench(good(2))
		b.export.Recipients = parsed(t, operator.Recipient().String())
		b.export.Projects = owned{project.Recipient().String(), operator.Recipient().String()}
		b.req.Recipients = []string{requester.Recipient().String(), project.Recipient().String()}
		out, err := b.run(t.Context(), delivery.Delivery{Number: 1})
		if err != nil || out.State != export.Completed {
			t.Fatalf("outcome %+v, %v", out, err)
		}
		want := seal.Fingerprints(parsed(t, operator.Recipient().String(), project.Recipient().String(), requester.Recipient().String()))
		if !slices.Equal(out.Artifact.Recipients, want) || out.Artifact.Encryption != seal.Age {
			t.Errorf("recipients %v, want %v", out.Artifact.Recipients, want)
		}
		stored := b.shelf.objects["p/r.1.sql.age"]
		for name, id := range map[string]*age.X25519Identity{"operator": operator, "project": project, "requester": requester} {
			r, err := age.Decrypt(strings.NewReader(stored), id)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if got, err := io.ReadAll(r); err != nil || string(got) != whole {
				t.Errorf("%s read %q, %v", name, got, err)
			}
		}
		if _, err := age.Decrypt(strings.NewReader(stored), other); err == nil {
			t.Error("another identity opens it")
		}
	})
}

func TestTheRowOfAProjectAloneEncryptsAndNamesTheObject(t *testing.T) {
	t.Parallel()
	owner := identity(t)
	synctest.Test(t, func(t *testing.T) {
		b := newBench(good(2))
		b.export.Projects = owned{owner.Recipient().String()}
		out, err := b.run(t.Context(), delivery.Delivery{Number: 1})
		if err != nil || out.State != export.Completed || len(out.Artifact.Recipients) != 1 {
			t.Fatalf("outcome %+v, %v", out, err)
		}
		if _, err := age.Decrypt(strings.NewReader(b.shelf.objects["p/r.1.sql.age"]), owner); err != nil {
			t.Errorf("objects %q: %v", b.shelf.objects, err)
		}
	})
}

func TestARecipientThatCannotBeReadStoresNothing(t *testing.T) {
	t.Parallel()
	good1, secret := identity(t).Recipient().String(), identity(t).String()
	for name, tc := range map[string]struct {
		project, request []string
		required         export.Required
		code             codes.Code
	}{
		"of the request":          {nil, []string{good1, "age1qqqq"}, "", codes.InvalidRequest},
		"of the project":          {[]string{good1, ""}, nil, "", codes.InternalError},
		"an identity":             {nil, []string{secret}, "", codes.InvalidRequest},
		"none where any is due":   {nil, nil, export.RequireAny, codes.InvalidRequest},
		"without the operator's":  {[]string{good1}, []string{good1}, export.RequireOperator, codes.InternalError},
		"an example of the files": {nil, []string{seal.Placeholder}, "", codes.InvalidRequest},
	} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(good(2))
			b.export.Projects, b.req.Recipients, b.export.Required = owned(tc.project), tc.request, tc.required
			out, err := b.run(t.Context(), delivery.Delivery{Number: 3, Last: true})
			if err != nil || out.State != export.Failed || out.Code != tc.code || len(b.shelf.objects) != 0 {
				t.Errorf("%s: outcome %+v, %v, objects %v", name, out, err, b.shelf.objects)
			}
			if strings.Contains(out.Message, secret) {
				t.Errorf("%s: the message repeats an identity", name)
			}
		})
	}
}
