package stored

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/pgcourier/pgcourier/internal/restore"
)

// Placing is a restore that is placed into a target as the flags of a command ask for.
type Placing struct {
	restore.Placement
	replace bool
	// PlanOnly changes nothing and tells what would be done.
	PlanOnly bool
}

// PlaceFlags adds the flags to a command. They set fields of p.
func PlaceFlags(f *pflag.FlagSet, p *Placing) {
	const week = 7 * 24 * time.Hour
	f.BoolVar(&p.replace, "replace", false, "replace the schemas, or the tables of --table; the old ones are kept under another name")
	f.DurationVar(&p.Keep, "keep", week, "how long --replace keeps what it has replaced")
	f.StringVar(&p.Schema, "schema-as", "", "name of the schema in the database, if it is another one than in the export")
	f.StringArrayVar(&p.Tables, "table", nil, "restore only this table, NAME or SCHEMA.NAME; may be repeated")
	f.StringArrayVar(&p.Schemas, "schema", nil, "restore only this schema of the export; may be repeated")
	f.StringVar(&p.Owner, "owner", "", "role that owns what is restored, of which the login is a member (default: the owner of what is replaced, or the login)")
	f.StringVar(&p.ID, "restore-id", "", "id of the restore, which is done at most once in the database (default: a random one)")
	f.BoolVar(&p.LeaveOut, "leave-out", false, "restore the rest when some objects of the export cannot be restored")
	f.BoolVar(&p.PlanOnly, "plan", false, "change nothing: report what would be done")
}

// Given reports whether a flag asks for a placement.
func (p *Placing) Given() bool {
	return p.replace || p.PlanOnly || p.Schema != "" || p.Owner != "" || p.ID != "" || len(p.Tables)+len(p.Schemas) > 0
}

// Do plans or places an export. It returns the result, and a text that describes it.
func (p *Placing) Do(ctx context.Context, r *restore.Restorer, x restore.Export, progress func(restore.Progress)) (any, string, error) {
	p.Mode = restore.Create
	if p.replace {
		p.Mode = restore.Replace
	}
	p.ID = cmp.Or(p.ID, "by-hand-"+strings.ToLower(rand.Text()[:12]))
	if p.PlanOnly {
		plan, err := r.Plan(ctx, x, p.Placement, progress)
		return plan, planText(plan), err
	}
	placed, err := r.Place(ctx, x, p.Placement, progress)
	if err != nil {
		return nil, "", err
	}
	var text strings.Builder
	fmt.Fprintf(&text, "restored %s into schema %s (PostgreSQL %s): %d rows in %d tables, counted there\n",
		placed.ID, strings.Join(placed.Schemas, ", "), placed.ServerVersion, placed.Rows(), len(placed.Tables))
	for _, k := range placed.Kept {
		fmt.Fprintf(&text, "kept: schema %s holds what was replaced, until %s\n", k, placed.KeptUntil.UTC().Format(time.DateTime+"Z"))
	}
	text.WriteString(lines("left out", placed.LeftOut) + lines("still names the old schema", placed.StillNames) + lines("remark", placed.Remarks))
	if p.Mode == restore.Replace {
		now := time.Now()
		dropped, _, err := r.DropKept(ctx, p.Source, func(k restore.Kept) bool { return !k.Until.After(now) })
		text.WriteString(lines("dropped, its time was over: schema", dropped))
		if err != nil { // the restore itself is done
			text.WriteString(lines("remark", strings.Split(err.Error(), "\n")))
		}
	}
	return placed, text.String(), nil
}

// ErrPlaceFlags means that flags exclude each other.
var ErrPlaceFlags = errors.New("not with --replace, --table, --schema, --schema-as, --owner, --restore-id and --plan")

func planText(p restore.Plan) string {
	text := fmt.Sprintf("would restore %d rows in %d tables into schema %s (PostgreSQL %s)\n", p.Rows, len(p.Tables), strings.Join(p.Schemas, ", "), p.ServerVersion)
	return text + lines("moved aside", p.Aside) + lines("missing in the database", p.Missing) + lines("cannot be restored", p.LeftOut) +
		lines("still names the old schema", p.StillNames) + lines("warning of the export", p.Warnings)
}

func lines(name string, values []string) string {
	var text strings.Builder
	for _, v := range values {
		text.WriteString(name + ": " + v + "\n")
	}
	return text.String()
}
