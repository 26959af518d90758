package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pgcourier/pgcourier/internal/doctor"
	"github.com/pgcourier/pgcourier/internal/term"
)

func (a *app) doctorCommand() *cobra.Command {
	var x doctor.Config
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check everything a worker needs, and say how to fix it",
		Long: "Looks with the worker's own configuration at the client tools, the database, the ledger\n" +
			"and its rights, the projects that were exported lately, the broker, its streams and\n" +
			"this key's rights, every storage (it writes, reads and deletes a probe), disks, clocks,\n" +
			"certificates, keys, the sandbox, mail, webhook and chat. It changes nothing else and\n" +
			"sends nothing unless --send-test is given. Run it as the worker's user.\n\n" +
			"With --drift it also compares what each destination lists with the ledger: an export that\n" +
			"is missing, or an object that the ledger does not know, is a fault.\n\n" +
			"All checks run at once, each within --timeout. A fault must be corrected;\n" +
			"unreachable means that there was no answer. Exits 1 for a fault, 5 if nothing is worse\n" +
			"than unreachable, and 0 otherwise, also for warnings and unknown states.",
		Example: "  pgcourier doctor\n" +
			"  pgcourier doctor --only database,broker/clock --project acme --project globex\n" +
			"  pgcourier doctor --only notify --send-test\n" +
			"  pgcourier doctor --only drift --drift\n" +
			"  pgcourier doctor --output json",
		Args: cobra.NoArgs,
	}
	cmd.Flags().StringSliceVar(&x.Only, "only", nil, "make only these checks, by the names in the table or the part before their slash")
	cmd.Flags().StringArrayVar(&x.Projects, "project", nil, "project to look at; may be repeated; none: up to 20 of those that were exported lately")
	cmd.Flags().DurationVar(&x.Timeout, "timeout", doctor.DefaultTimeout, "longest time of one check")
	cmd.Flags().BoolVar(&x.Drift, "drift", false, "also compare the storage with the ledger")
	cmd.Flags().BoolVar(&x.SendTest, "send-test", false, "also send a test: a mail to OPERATOR_EMAIL, an event of the type pgcourier.test, a message")
	_ = cmd.RegisterFlagCompletionFunc("only", cobra.FixedCompletions(doctor.Names(), cobra.ShellCompDirectiveNoFileComp))
	load := a.settingFlags(cmd)
	cmd.RunE = coded(func(cmd *cobra.Command, _ []string) (err error) {
		for _, name := range x.Only {
			if first, _, _ := strings.Cut(name, "/"); !slices.Contains(doctor.Names(), first) {
				return exitf(exitUsage, "--only: %q is none of %s", name, strings.Join(doctor.Names(), ", "))
			}
		}
		if x.Timeout <= 0 {
			return exitf(exitUsage, "--timeout: %s is not positive", x.Timeout)
		}
		if x.Settings, err = load(); err != nil {
			return err
		}
		found := doctor.Examine(cmd.Context(), x)
		for i, f := range found {
			found[i].Check, found[i].Found, found[i].Fix = term.Sanitize(f.Check), term.Sanitize(f.Found), term.Sanitize(f.Fix)
		}
		if err := a.print(found, doctorText(a.screen(), found)); err != nil {
			return err
		}
		return doctorExit(found)
	})
	return cmd
}

// doctorExit is 1 when something must be corrected, and 5 when all that is wrong may pass.
func doctorExit(found []doctor.Finding) error {
	var faults, unreachable []string
	for _, f := range found {
		switch f.State {
		case doctor.Fault:
			faults = append(faults, f.Check)
		case doctor.Unreachable:
			unreachable = append(unreachable, f.Check)
		default: // works, or is not known
		}
	}
	switch {
	case len(faults) > 0:
		return exitf(exitFailed, "to be fixed: %s", strings.Join(append(faults, unreachable...), ", "))
	case len(unreachable) > 0:
		return exitf(exitUnreachable, "unreachable: %s", strings.Join(unreachable, ", "))
	}
	return nil
}

// doctorText is the table, and below it what must be corrected, in full.
func doctorText(s term.Screen, found []doctor.Finding) string {
	table := term.Table{Columns: []term.Column{{Title: "CHECK", Least: 16}, {Title: "STATE", ID: true}, {Title: "FOUND"}}}
	var below strings.Builder
	for _, f := range found {
		table.Add(f.Check, string(f.State), f.Found)
		if f.Fix != "" {
			fmt.Fprintf(&below, "\n%s\n", s.Bold(s.Cut(f.Check+": "+string(f.State))))
			below.WriteString(s.Pairs([][2]string{{"  found", f.Found}, {"  fix", f.Fix}}))
		}
	}
	return table.Text(s) + below.String()
}
