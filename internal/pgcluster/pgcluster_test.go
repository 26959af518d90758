package pgcluster_test

import (
	"os"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgcourier/pgcourier/internal/pgcluster"
)

func TestClusterAnswersSurvivesHaltAndLeavesNothing(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	c, err := pgcluster.Start(ctx, pgcluster.Config{Settings: map[string]string{"work_mem": "'5MB'"}})
	if err != nil {
		t.Fatal(err)
	}
	folder := c.Folder
	ask := func() string {
		conn, err := pgx.Connect(ctx, c.URL("postgres"))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close(ctx) }()
		var v string
		if err := conn.QueryRow(ctx, "show work_mem").Scan(&v); err != nil {
			t.Fatal(err)
		}
		return v
	}
	if got := ask(); got != "5MB" {
		t.Errorf("work_mem = %s, want 5MB", got)
	}
	if err := c.Halt(ctx, "fast"); err != nil {
		t.Fatal(err)
	}
	if _, err := pgx.Connect(ctx, c.URL("postgres")); err == nil {
		t.Error("connected to a halted cluster")
	}
	if err := c.Resume(ctx); err != nil {
		t.Fatal(err)
	}
	ask()
	if err := c.Stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(folder); !os.IsNotExist(err) {
		t.Errorf("stat %s after Stop: %v, want not exist", folder, err)
	}
}
