package config

import "slices"

// The roles of serve.
const (
	// RoleIntake moves requests from the intake to the queues, and runs schedules.
	RoleIntake = "intake"
	// RoleWorker exports.
	RoleWorker = "worker"
	// RoleSweeper ends requests that no worker will end, and cleans the ledger.
	RoleSweeper = "sweeper"
	// RoleNotifier sends outcomes by mail, webhook and chat.
	RoleNotifier = "notifier"
	// RoleVerifier restores each completed export into a scratch database. It is never a
	// default: it needs identities, which a worker must not have.
	RoleVerifier = "verifier"
	// RoleRestorer restores exports into the projects' databases, where RESTORE_QUERY says. It is
	// never a default: it needs identities, which a worker must not have.
	RoleRestorer = "restorer"
	// RolePruner deletes what no retention rule keeps.
	RolePruner = "pruner"
	// RoleAPI answers over HTTP. It is never a default.
	RoleAPI = "api"
)

// Serves reports whether role is one of those that serve runs.
func (c Config) Serves(role string) bool { return slices.Contains(c.Roles, role) }

// Exporting reports whether serve runs any role beside the notifier, the verifier, the restorer and
// the API. Only these four open neither storage nor pg_dump for exports.
func (c Config) Exporting() bool {
	return slices.ContainsFunc(c.Roles, func(r string) bool {
		return r != RoleNotifier && r != RoleVerifier && r != RoleRestorer && r != RoleAPI
	})
}

// How many calls to the ledger a process makes at the same time. Each takes a connection.
const (
	otherCalls  = 4  // of sweeper, pruner, verifier, restorer, probes and metrics
	mostExports = 16 // more exports than that claim, renew and finish one after the other
	apiCalls    = 16 // 8 over HTTP, and 8 over NATS
)

// LedgerCalls returns how many calls to the ledger the roles make at the same time.
func (c Config) LedgerCalls() int32 {
	n := otherCalls
	if c.Exporting() {
		n += min(c.Concurrency, mostExports)
	}
	if c.Serves(RoleAPI) {
		n += apiCalls
	}
	return int32(n)
}

// defaultRoles are all that have something to do.
func (c Config) defaultRoles() []string {
	roles := []string{RoleIntake, RoleWorker, RoleSweeper}
	if c.Notify.Configured() {
		roles = append(roles, RoleNotifier)
	}
	if c.Retention != "" {
		roles = append(roles, RolePruner)
	}
	return roles
}
