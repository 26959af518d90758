package destinations

import (
	"os"

	"filippo.io/age"

	"github.com/pgcourier/pgcourier/internal/config"
	"github.com/pgcourier/pgcourier/internal/seal"
)

// ReadIdentities returns the identities in files, in order. A file holds age identities or one
// SSH private key. Errors are a *config.Error and show no key.
func ReadIdentities(files []string) ([]age.Identity, error) {
	var all []age.Identity
	for _, file := range files {
		b, err := os.ReadFile(file) //nolint:gosec // the operator names the file
		if err != nil {
			return nil, config.Errorf("read identity: %w", err)
		}
		ids, err := seal.ParseIdentities(b)
		if err != nil {
			return nil, config.Errorf("identity file %s: %w", file, err)
		}
		all = append(all, ids...)
	}
	return all, nil
}
