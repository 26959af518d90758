package storage

import (
	"context"
	"errors"
	"fmt"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/export"
)

var (
	// ErrNotFound says that the blob or export does not exist (any more).
	ErrNotFound = errors.New("not found in storage")
	// ErrExists says that the key or name is taken; what is there was not touched.
	ErrExists = errors.New("already in storage")
	// ErrForeign says that a reference or a manifest belongs to another destination,
	// another export or another kind of driver.
	ErrForeign = errors.New("foreign reference")
	// ErrFull says that the destination has no room or no quota left.
	ErrFull = errors.New("storage is full")
	// ErrUnavailable says that the destination cannot be used now.
	ErrUnavailable = errors.New("storage unavailable")
	// ErrRefused is the ErrUnavailable that does not pass by waiting: a revoked token, a
	// chat or bucket that is gone, a right that is missing. An operator has to act.
	ErrRefused = fmt.Errorf("%w until an operator acts", ErrUnavailable)
	// ErrObstructed is the ErrRefused of a place in which something lies that was not put
	// there by us: a link, or a file, where a folder has to be.
	ErrObstructed = fmt.Errorf("%w: something else lies in its place", ErrRefused)
	// ErrNoIndex is the ErrRefused of a destination that cannot list and has no index, although exports
	// are stored there. A new index would not lead to them.
	ErrNoIndex = fmt.Errorf("%w: its index is missing", ErrRefused)
	// ErrSealed says that a manifest's description is encrypted and no identity that was
	// given opens it. Sizes, hashes and references are readable all the same.
	ErrSealed = errors.New("the manifest is encrypted")
	// ErrDamaged says that what is stored is not what was stored: bytes flipped, missing
	// or added.
	ErrDamaged = errors.New("stored data is damaged")
	// ErrVersion says that a manifest was written by a version that this one cannot read.
	ErrVersion = errors.New("unknown manifest version")
	// ErrMismatch says that the stream is not what its description claims.
	ErrMismatch = errors.New("stream differs from its description")
	// ErrBadKey says that a key or name is not one that the core makes.
	ErrBadKey = errors.New("unsafe storage key")
)

// asFault puts a driver's error into the contract's words. Faults and the end of the
// context stay what they are.
func asFault(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*export.Fault](err); ok {
		return err
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	f := &export.Fault{Code: codes.StorageUnavailable, Message: "the storage cannot be used now", Err: err}
	if a, ok := errors.AsType[*Answer](err); ok && !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrExists) {
		f.Message = a.Message()
		switch {
		case errors.Is(a.Kind, ErrRefused):
			f.Code = codes.StorageRefused
		case errors.Is(a.Kind, ErrFull):
			f.Code = codes.StorageFull
		}
		return f
	}
	switch {
	case errors.Is(err, ErrNotMarked):
		f.Message = "the storage is not there: its place is empty or missing, as when a file system is not mounted"
	case errors.Is(err, ErrOtherStorage):
		f.Code, f.Message = codes.StorageRefused, "another storage lies in the place of the storage"
	case errors.Is(err, ErrObstructed):
		f.Code, f.Message = codes.StorageRefused, "in the storage a link or a file lies where a folder has to be"
	case errors.Is(err, ErrNoIndex):
		f.Code, f.Message = codes.StorageRefused, "the index of the storage is missing, although exports are stored there"
	case errors.Is(err, ErrRefused):
		f.Code, f.Message = codes.StorageRefused, "the storage refuses the worker"
	case errors.Is(err, ErrSealed):
		f.Message = "the manifest is encrypted: an age identity is needed to read it"
	case errors.Is(err, ErrFull):
		f.Code, f.Message = codes.StorageFull, "the storage has no room left"
	case errors.Is(err, ErrDamaged):
		f.Message = "what was stored could not be read back as it was written"
	case errors.Is(err, ErrForeign):
		f.Message = "what was stored is that of another export or destination"
	case errors.Is(err, ErrVersion):
		f.Message = "the manifest was written by another version of pgcourier"
	case errors.Is(err, export.ErrStored):
		f.Code, f.Message = codes.InternalError, "the storage already holds an export of this attempt, which stays: the ledger has lost rows"
	case errors.Is(err, ErrMismatch), errors.Is(err, ErrBadKey), errors.Is(err, ErrExists):
		f.Code, f.Message = codes.InternalError, "the storage refused the export"
	case errors.Is(err, ErrNotFound):
		f.Message = "the storage does not hold this export"
	}
	return f
}
