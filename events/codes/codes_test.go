package codes_test

import (
	"slices"
	"testing"

	"github.com/pgcourier/pgcourier/events/codes"
)

// The codes are part of the contract: consumers compare them and ledgers store them. A code may be
// added, none may change.
func TestTheCodesAreStable(t *testing.T) {
	t.Parallel()
	permanent := []codes.Code{
		"invalid_request", "request_conflict", "project_not_found", "schema_not_allowed", "schema_not_found", "source_auth_failed",
		"source_forbidden", "source_not_found", "row_level_security", "version_mismatch", "source_corrupt", "dump_timeout",
		"size_limit", "row_too_large", "script_unreadable", "source_pooled", "format_unavailable", "spool_limit", "cancelled", "storage_refused",
	}
	transient := []codes.Code{
		"source_unavailable", "lock_timeout", "dump_stalled", "dump_failed", "dump_incomplete", "spool_unavailable",
		"storage_unavailable", "storage_full", "upload_timeout", "worker_lost", "interrupted", "internal_error",
	}
	if got, want := codes.OfFailures(), slices.Concat(permanent, transient); !slices.Equal(got, want) {
		t.Errorf("the codes are %q, want %q", got, want)
	}
	for _, c := range permanent {
		if !c.Permanent() {
			t.Errorf("%s is not permanent", c)
		}
	}
	for _, c := range append(transient, "unknown", codes.ExportMissing) {
		if c.Permanent() {
			t.Errorf("%s is permanent", c)
		}
	}
	restores := []codes.Code{
		"invalid_request", "request_conflict", "project_not_found", "restore_disabled", "restore_source_not_allowed",
		"restore_replace_not_allowed", "restore_impossible", "export_not_found", "export_locked", "export_damaged", "restore_rejected",
		"target_occupied", "target_auth_failed", "target_forbidden", "target_not_found", "version_mismatch", "restore_timeout",
		"cancelled", "storage_refused",
	}
	later := []codes.Code{
		"export_missing", "target_unavailable", "target_full", "lock_timeout", "storage_unavailable", "spool_unavailable",
		"restore_unknown", "worker_lost", "interrupted", "internal_error",
	}
	if got, want := codes.OfRestores(), slices.Concat(restores, later); !slices.Equal(got, want) {
		t.Errorf("the codes of restores are %q, want %q", got, want)
	}
	for _, c := range restores {
		if !c.Permanent() {
			t.Errorf("%s is not permanent", c)
		}
	}
	for _, c := range later {
		if c.Permanent() {
			t.Errorf("%s is permanent", c)
		}
	}
	if got := []codes.Code{codes.ExportMissing, codes.ExportDamaged, codes.RestoreRejected}; !slices.Equal(got, []codes.Code{"export_missing", "export_damaged", "restore_rejected"}) {
		t.Errorf("the verifications' codes are %q", got)
	}
}
