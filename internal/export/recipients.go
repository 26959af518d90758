package export

import (
	"context"
	"errors"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/seal"
)

// Required says which recipients an export must have.
type Required string

// The rules for recipients. The zero value is RequireNone.
const (
	RequireNone     Required = "none"     // an export may be stored unencrypted
	RequireAny      Required = "any"      // of the operator, the project or the request
	RequireOperator Required = "operator" // at least one of the operator's
)

// recipients returns the keys for an export without duplicates: the operator's, the project's and
// the request's. A key that cannot be parsed is a Fault, and so is a missing required key: an
// export is never encrypted to fewer keys than requested.
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
// object, which depends on that, before the project is looked up. If only the project decides,
// willEncrypt looks it up in addition. If that look-up fails, only the end of the name is missing;
// the look-up after the claim decides.
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
