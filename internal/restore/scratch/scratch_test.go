package scratch_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"

	"github.com/pgcourier/pgcourier/internal/config"
	"github.com/pgcourier/pgcourier/internal/restore/scratch"
)

func ExampleOpenServer() {
	rehearse, stop, err := scratch.OpenServer(context.Background(), "postgres://verifier@db.example.org/scratch", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = stop() }()
	fmt.Println(rehearse.Server.Database())
	// Output: scratch
}

func TestAURLThatIsNoneIsTheOperatorsFault(t *testing.T) {
	t.Parallel()
	_, _, err := scratch.OpenServer(t.Context(), "postgres://[", nil)
	if _, setting := errors.AsType[*config.Error](err); !setting {
		t.Errorf("the error is %v", err)
	}
}

func TestWithoutASandboxNothingIsConfined(t *testing.T) {
	t.Parallel()
	in, err := scratch.OpenSandbox(t.Context(), config.SandboxOff, slog.New(slog.DiscardHandler))
	if err != nil || in != nil || in.Confine() != nil {
		t.Errorf("%v, %v", in, err)
	}
}
