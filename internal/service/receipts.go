package service

import (
	"context"
	"log/slog"

	"github.com/pgcourier/pgcourier/internal/config"
	"github.com/pgcourier/pgcourier/internal/handover/receipt"
)

// openSigner opens the key that signs receipts. nil: there is none and none can be made, as on
// a machine without a disk of its own. A given key that cannot be read is a *config.Error.
func openSigner(ctx context.Context, c config.Config, version string, log *slog.Logger) (*receipt.Signer, error) {
	s, err := receipt.Open(c.ReceiptKey, c.DataDir, version)
	if err != nil && c.ReceiptKey != "" {
		return nil, config.Errorf("%sRECEIPT_KEY: %w", config.Prefix, err)
	}
	if err != nil {
		log.WarnContext(ctx, "exports get no receipt: set PGCOURIER_RECEIPT_KEY_FILE, or let DATA_DIR hold a key", "error", err)
		return nil, nil //nolint:nilnil // exports do without
	}
	return s, nil
}
