package telemetry_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/pgcourier/pgcourier/internal/telemetry"
)

func TestDurationsInLogsHaveAUnit(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"text", "json"} {
		var out bytes.Buffer
		telemetry.NewLogger(&out, "info", format).InfoContext(t.Context(), "export completed", "duration", 1500*time.Millisecond, "rows", 7)
		if s := out.String(); !strings.Contains(s, "1.5s") || !strings.Contains(s, "7") {
			t.Errorf("%s: %s", format, s)
		}
	}
}
