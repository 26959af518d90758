package service

import (
	"context"
	"log/slog"

	"github.com/pgcourier/pgcourier/internal/config"
	"github.com/pgcourier/pgcourier/internal/handover/receipt"
)

// openSigner opens the key that signs receipts. It returns nil if there is no key and none can be
// created, as on a read-only disk. A configured key that cannot be read is a *config.Error.
func openSigner(ctx context.Context, c config.Config, version string, log *slog.Logger) (*receipt.Signer, error) {
	s, err := receipt.Open(c.ReceiptKey, c.DataDir, version)
	if err != nil && c.ReceiptKey != "" {
		return nil, config.Errorf("%sRECEIPT_KEY: %w", config.Prefix, err)
	}
	if err != nil {
		log.WarnContext(ctx, "exports get no receipt: set PGCOURIER_RECEIPT_KEY_FILE, or make DATA_DIR writable", "error", err)
		return nil, nil //nolint:nilnil // exports work without a signer
	}
	return s, nil
}
