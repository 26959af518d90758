package export

import (
	"context"
	"errors"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/seal"
)

// Required says without which recipients an export is refused.
type Required string

// The rules for recipients. The zero value is RequireNone.
const (
	RequireNone     Required = "none"     // an export may be stored unencrypted
	RequireAny      Required = "any"      // of the operator, the project or the request
	RequireOperator Required = "operator" // at least one of the operator's
)

// recipients returns the keys that an export is encrypted to: the operator's, the project's
// and the request's, each once. A key that cannot be read is a Fault, and so is a set that
// lacks a required one: an export is never encrypted to fewer keys than were asked for.
func (e *Exporter) recipients(p Project, req Request) ([]seal.Recipient, error) {
	ofProject, err := seal.ParseRecipients(p.Recipients)
	if err != nil {
		return nil, &Fault{
			Code: codes.InternalError, Message: "the control plane's entry of this project names a recipient that is no public key", Err: err,
		}
	}
	ofRequest, err := seal.ParseRecipients(req.Recipients)
	if err != nil {
		return nil, &Fault{Code: codes.InvalidRequest, Message: "recipients: " + err.Error(), Err: err}
	}
	all := seal.Union(e.Recipients, ofProject, ofRequest)
	switch {
	case e.Required == RequireOperator && len(e.Recipients) == 0:
		return nil, &Fault{
			Code: codes.InternalError, Message: "the worker has no recipient of the operator, and must not store without",
			Err: errors.New("RECIPIENTS_REQUIRED is operator, AGE_RECIPIENTS is empty"),
		}
	case e.Required == RequireAny && len(all) == 0:
		return nil, &Fault{Code: codes.InvalidRequest, Message: "recipients: name one: neither the operator nor the project has any, and exports must be encrypted"}
	}
	return all, nil
}

// willEncrypt reports whether the export will be encrypted. The claim records the name of the
// object, which says so, and is made before the project is looked up: where that alone can
// tell, it is asked here once more. A look-up that fails leaves the end of the name out and
// nothing else; the one after the claim decides.
func (e *Exporter) willEncrypt(ctx context.Context, req Request) bool {
	if len(e.Recipients) > 0 || len(req.Recipients) > 0 {
		return true
	}
	if req.Refusal != nil {
		return false
	}
	p, err := e.Projects.Lookup(ctx, req.Project)
	return err == nil && len(p.Recipients) > 0
}
