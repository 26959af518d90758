// Package config reads the environment once, into one validated struct. Each setting is
// PGCOURIER_<NAME>; a secret can also be given as a file, PGCOURIER_<NAME>_FILE; a flag
// of the same name in lower case with dashes wins over both. What neither gives is read from a
// file of such lines.
package config

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"

	"github.com/pgcourier/pgcourier/internal/secret"
)

// Prefix begins the name of each environment variable.
const Prefix = "PGCOURIER_"

// The values of CLIENT_CHECK.
const (
	ClientsWarn   = "warn"
	ClientsRefuse = "refuse"
	ClientsOff    = "off"
)

// The values of SANDBOX.
const (
	SandboxAuto    = "auto"
	SandboxRequire = "require"
	SandboxOff     = "off"
)

// The values of COMPRESSION_LEVEL.
const (
	CompressionFast    = "fast"
	CompressionDefault = "default"
	CompressionBest    = "best"
)

// The values of RECIPIENTS_REQUIRED.
const (
	RecipientsNone     = "none"
	RecipientsAny      = "any"
	RecipientsOperator = "operator"
)

// Config is everything the environment decides. The help tag of a field is its line in
// docs/settings.md and in --help: meaning, unit and special values.
type Config struct {
	File string `env:"CONFIG" help:"file of settings, NAME=value, for what neither the environment nor a flag gives; empty: ~/.config/pgcourier/config if it exists, see pgcourier init"`

	DatabaseURL  secret.String `env:"DATABASE_URL" help:"control plane and ledger, and the source unless a project's row names another; a PostgreSQL URL or keyword/value string; pool_max_conns in it limits the connections of serve to the ledger, default: see docs/scaling.md"`
	ProjectQuery string        `env:"PROJECT_QUERY" help:"one SQL statement, $1 = project id, returning id, name, active, schemas text[] and optionally role, dsn, retention, recipients text[], compression_level; empty: control_plane.projects, see docs/architecture.md"`

	PasswordCommand secret.Command `env:"PASSWORD_COMMAND" help:"program that prints the password for PostgreSQL where DATABASE_URL, a project's dsn, that of RESTORE_QUERY, RESTORE_URL or VERIFY_SCRATCH_URL holds none, such as the token of a cloud's login: a JSON array of the program and its arguments, in which {host}, {port}, {user} and {dbname} are replaced; it runs for each new connection, without a shell, see docs/least-privilege.md; empty: none"`

	NATSURL      secret.String `env:"NATS_URL" help:"URL of the broker; several servers separated by commas; empty: the embedded broker"`
	NATSCreds    string        `env:"NATS_CREDS" help:"credentials file for the broker (JWT and nkey)"`
	NATSNKey     string        `env:"NATS_NKEY" help:"nkey seed file for the broker"`
	NATSKeys     string        `env:"NATS_KEYS" help:"folder of nkey seed files for the broker, one for each of its users (gateway.nk, worker.nk, notifier.nk, verifier.nk, restorer.nk, operator.nk): each role and command takes its own, see docs/broker.md; empty: the folder keys in DATA_DIR for the embedded broker, else none"`
	NATSInbox    string        `env:"NATS_INBOX_PREFIX" help:"prefix of the subjects on which the broker's answers arrive; empty: _INBOX_ and the name of the broker's user"`
	NATSTLSCA    string        `env:"NATS_TLS_CA" help:"CA certificates file for the broker"`
	NATSTLSCert  string        `env:"NATS_TLS_CERT" help:"client certificate file for the broker"`
	NATSTLSKey   string        `env:"NATS_TLS_KEY" help:"client key file for the broker"`
	NATSTLSFirst bool          `env:"NATS_TLS_FIRST" envDefault:"false" help:"true: the connection begins with TLS, for a broker with handshake_first"`
	NATSDomain   string        `env:"NATS_DOMAIN" help:"JetStream domain of the streams, where the broker is reached through a leaf node of another; empty: the server's own"`
	NATSPrefix   string        `env:"NATS_API_PREFIX" help:"subject prefix of JetStream's API, where another account exports it; empty: $JS.API"`
	NATSMaxBytes ByteSize      `env:"NATS_STREAM_MAX_BYTES" envDefault:"0" help:"limit of each stream, for accounts that demand one (max_bytes_required): a full queue refuses requests, other streams drop their oldest messages; 0: no limit"`
	NATSMaxAcks  int           `env:"NATS_MAX_ACK_PENDING" envDefault:"10000" help:"requests that all workers together may hold, those that wait for their next delivery included; lower it where the account limits max_ack_pending"`
	NATSReplicas int           `env:"NATS_REPLICAS" envDefault:"1" help:"copies of each stream that an external cluster keeps: 1, 3 or 5"`
	NATSHost     string        `env:"NATS_HOST" envDefault:"127.0.0.1" help:"address on which the embedded broker listens; any but a loopback address needs NATS_SERVER_CERT"`
	NATSPort     int           `env:"NATS_PORT" envDefault:"4222" help:"port of the embedded broker; -1: any free one"`
	NATSCert     string        `env:"NATS_SERVER_CERT" help:"certificate file of the embedded broker, which then accepts TLS connections only"`
	NATSKey      string        `env:"NATS_SERVER_KEY" help:"key file of the embedded broker"`
	NATSClientCA string        `env:"NATS_SERVER_CLIENT_CA" help:"CA certificates file of the embedded broker: each client must have a certificate of one of these"`

	DataDir        string        `env:"DATA_DIR" envDefault:"./pgcourier-data" help:"folder of the embedded broker and of the default storage"`
	Storage        []string      `env:"STORAGE" help:"where exports are kept: file:///dir, s3://bucket/prefix or telegram://CHAT_ID, see docs/storage.md; several separated by commas: the first is required, another one only with required=true in its query; empty: the folder exports in DATA_DIR"`
	MaxBytes       ByteSize      `env:"MAX_BYTES" envDefault:"10GiB" help:"largest dump of one export, before compression; a larger one is killed and fails with size_limit; 0: no limit"`
	Level          string        `env:"COMPRESSION_LEVEL" envDefault:"default" help:"how much work gzip and zstd do where neither the request nor the project's row says: fast (the least; UUIDs, hex and base64 stay almost as they are), default or best (the smallest exports, for several times the processor time of default)"`
	SpoolDir       string        `env:"SPOOL_DIR" help:"folder on a local disk for temporary files of format directory, of projects that are dumped together and of restore --jobs, in plain text; empty: the folder spool in DATA_DIR"`
	SpoolBytes     ByteSize      `env:"SPOOL_BYTES" envDefault:"4GiB" help:"room that one export of format directory may use in SPOOL_DIR at a time; it must hold the largest tables, one for each job"`
	ParallelJobs   int           `env:"PARALLEL_JOBS" envDefault:"4" help:"tables of one export of format directory that are dumped at a time, each on a connection of its own, between 1 and 16; a request can ask for fewer"`
	GroupMax       int           `env:"GROUP_MAX" envDefault:"100" help:"how many small projects of one source that wait at the same time are dumped together, each with an export of its own; 0 or 1: every project by itself"`
	GroupSpool     ByteSize      `env:"GROUP_SPOOL" envDefault:"1GiB" help:"room that all dumps of several projects (GROUP_MAX) together may use in SPOOL_DIR at a time, in plain text"`
	GroupBytes     ByteSize      `env:"GROUP_PROJECT_BYTES" envDefault:"16MiB" help:"size of a project's tables up to which it is small, for GROUP_MAX"`
	PGBinDir       string        `env:"PG_BIN_DIR" help:"folder of pg_dump; empty: every one under /usr/lib/postgresql and on the PATH, of which the server's own version is used, else the nearest newer"`
	ClientCheck    string        `env:"CLIENT_CHECK" envDefault:"warn" help:"what to do when pg_dump, psql or pg_restore is a release with published faults, see docs/hostile-source.md: warn, refuse (do not start) or off"`
	Sandbox        string        `env:"SANDBOX" envDefault:"auto" help:"whether psql, pg_restore and the temporary server of a verification run in namespaces of their own, see docs/hostile-source.md: auto (where the kernel permits, else Landlock, which is weaker, or neither), require (else do not run) or off"`
	LogLevel       string        `env:"LOG_LEVEL" envDefault:"info" help:"debug, info, warn or error"`
	LogFormat      string        `env:"LOG_FORMAT" envDefault:"text" help:"text or json"`
	HTTPAddr       string        `env:"HTTP_ADDR" help:"address of /healthz, /readyz and /metrics; empty: none"`
	PerProject     bool          `env:"METRICS_PER_PROJECT" envDefault:"false" help:"true: the metric of the last success has a series for each project; for platforms with at most a few thousand projects"`
	PProf          bool          `env:"PPROF" envDefault:"false" help:"true: Go's profiles under /debug/pprof/ at HTTP_ADDR, which should then be on 127.0.0.1 only: they show what is in memory"`
	Roles          []string      `env:"ROLES" help:"what serve runs: intake, worker, sweeper, notifier, verifier (restores each completed export into a scratch database), restorer (restores exports by event where RESTORE_QUERY says), pruner (deletes what RETENTION does not keep), api (answers over HTTP, see docs/api.md); empty: intake, worker and sweeper, also notifier if a channel is set up, and pruner if RETENTION is set"`
	TelegramToken  secret.String `env:"TELEGRAM_TOKEN" whole:"true" help:"token of the bot for telegram storage and messages, as BotFather gave it"`
	AllowPlaintext bool          `env:"ALLOW_PLAINTEXT" envDefault:"false" help:"true: store in Telegram also without AGE_RECIPIENTS, readable by all members of the chat and by Telegram"`
	AgeRecipients  []string      `env:"AGE_RECIPIENTS" help:"age recipients (age1..., ssh-ed25519 ..., ssh-rsa ...) separated by commas: exports are encrypted to them; empty: not encrypted"`

	RecipientsRequired string `env:"RECIPIENTS_REQUIRED" envDefault:"none" help:"which recipients an export must have: none (it may be stored unencrypted), any (an export without a recipient of the operator, the project or the request is refused) or operator (the worker does not start without AGE_RECIPIENTS)"`

	LinkKey     secret.String `env:"LINK_KEY" whole:"true" help:"key of at least 32 characters that makes download links; links of further keys after it, separated by spaces or commas, are still accepted; empty: keys/link.key in DATA_DIR, made at the first start; the API and the notifier need the same key"`
	LinkPresign bool          `env:"LINK_PRESIGN" envDefault:"true" help:"false: links never redirect a client to S3; for an S3 that clients cannot reach. Links with max_downloads never do"`
	ReceiptKey  secret.String `env:"RECEIPT_KEY" whole:"true" help:"Ed25519 private key in PEM that signs receipts, see docs/receipts.md; further keys after it only verify; empty: keys/receipt.pem in DATA_DIR, made at the first start; all workers need the same key"`

	AgeIdentityFiles []string      `env:"AGE_IDENTITY_FILE" help:"age identity files or SSH private keys, separated by commas, that decrypt exports: for the verifier, the restorer and for commands, never for a worker"`
	RestoreURL       secret.String `env:"RESTORE_URL" help:"database that restore feeds; a PostgreSQL URL or keyword/value string"`
	RestoreQuery     string        `env:"RESTORE_QUERY" help:"one SQL statement, $1 = the project to restore into, returning dsn, schema, owner, allow_from text[], allow_replace: where restores by event go, and from which projects they may come, see docs/restore-as-event.md; empty: restores by event are refused"`
	RestoreKeep      time.Duration `env:"RESTORE_KEEP" envDefault:"168h" help:"how long the restorer keeps the old data that a restore with mode replace has replaced (7 days)"`
	VerifyScratchURL secret.String `env:"VERIFY_SCRATCH_URL" help:"server on which verify --restore and the verifier make a database for each export, by a login with CREATEDB; its template1 holds the extensions that only a superuser can make; empty: a temporary server on this machine"`

	Timeout       time.Duration `env:"TIMEOUT" envDefault:"30m" help:"longest time of one dump"`
	UploadTimeout time.Duration `env:"UPLOAD_TIMEOUT" envDefault:"2h" help:"longest time that one destination may take to store an export; its wait for the dump does not count"`
	StallTimeout  time.Duration `env:"STALL_TIMEOUT" envDefault:"10m" help:"a dump that makes no progress for this time is killed, unless only the count of its rows still runs"`
	LockTimeout   time.Duration `env:"LOCK_TIMEOUT" envDefault:"1m" help:"longest time that a dump waits for another session's lock"`
	Concurrency   int           `env:"CONCURRENCY" envDefault:"2" help:"exports that one worker runs at a time, each of another project"`
	AckWait       time.Duration `env:"ACK_WAIT" envDefault:"30s" help:"a worker that sends no heartbeat for this time is treated as lost; also the lease of an attempt"`
	RetryBackoff  time.Duration `env:"RETRY_BACKOFF" envDefault:"10s" help:"longest pause before the second attempt, twice as long before the third; each pause is shortened at random by up to half"`
	DrainTimeout  time.Duration `env:"DRAIN_TIMEOUT" envDefault:"30m" help:"longest time that running exports may take to end after SIGTERM"`

	MaxWaitingPerProject int           `env:"MAX_WAITING_PER_PROJECT" envDefault:"100" help:"how many requests of one project may wait; the broker refuses further ones"`
	Retention            string        `env:"RETENTION" help:"which stored exports the pruner keeps of each project for which neither its row nor an applied rule says so, for instance last=7,daily=14,yearly=5; all rules are in docs/retention.md; empty: all are kept"`
	PruneEvery           time.Duration `env:"PRUNE_EVERY" envDefault:"1h" help:"time between two runs of the pruner"`
	PruneNotice          time.Duration `env:"PRUNE_NOTICE" envDefault:"24h" help:"shortest time between the event backup.expiring, which warns of a deletion, and the deletion"`

	OutcomeRetention time.Duration `env:"OUTCOME_RETENTION" envDefault:"2160h" help:"how long outcomes stay in the broker (90 days)"`
	LedgerRetention  time.Duration `env:"LEDGER_RETENTION" envDefault:"9600h" help:"how long the ledger keeps a request after it failed or its export was deleted (400 days); not below OUTCOME_RETENTION, see docs/retention.md; 0: for ever"`
	EventRetention   time.Duration `env:"EVENT_RETENTION" envDefault:"2160h" help:"how long other events than outcomes stay in the broker: starts, verifications, deletions (90 days)"`

	Notify
	API

	// SecretFiles are the files that Load read settings from.
	SecretFiles []string
}

// Load reads a Config from environ, a list of NAME=value as from os.Environ, overlaid by
// flags (setting name to value, for instance {"DATA_DIR": "/srv"}), and from the file of settings
// for the rest. All faults are reported together. Config.File is the file that was read; empty: none.
func Load(environ []string, flags map[string]string) (Config, error) {
	values := withoutServiceLinks(env.ToMap(environ))
	var c Config
	named := values[Prefix+"CONFIG"]
	if flag, ok := flags["CONFIG"]; ok {
		named = flag
	}
	file, err := addFile(values, named)
	faults := []error{err}
	if file != "" {
		c.SecretFiles = append(c.SecretFiles, file)
	}
	for _, s := range Settings() {
		file, err := overlay(values, s, flags)
		faults = append(faults, err)
		if file != "" {
			c.SecretFiles = append(c.SecretFiles, file)
		}
	}
	faults = append(faults, unknown(values))
	// An empty variable means the default, as in compose files with ${NAME:-}.
	maps.DeleteFunc(values, func(_, v string) bool { return v == "" })
	err = env.ParseWithOptions(&c, env.Options{Prefix: Prefix, Environment: values})
	if many, ok := errors.AsType[env.AggregateError](err); ok {
		faults = append(faults, many.Errors...)
	} else {
		faults = append(faults, err)
	}
	c.File = file
	if len(c.Roles) == 0 {
		c.Roles = c.defaultRoles()
	}
	if err == nil {
		faults = append(faults, c.Validate())
	}
	return c, errors.Join(faults...)
}

// overlay puts a secret's file and a flag's value over one variable. file is the file that
// holds the setting, if any.
func overlay(values map[string]string, s Setting, flags map[string]string) (file string, err error) {
	if v, ok := flags[s.Name]; ok {
		if s.Whole && v != "" {
			return "", fmt.Errorf("--%s: a secret on the command line can be read by every process: use %s or --%s-file", s.Flag, s.Env, s.Flag)
		}
		if s.Secret && holdsPassword(v) {
			return "", fmt.Errorf("--%s: a password on the command line can be read by every process: use %s or --%s-file", s.Flag, s.Env, s.Flag)
		}
		values[s.Env] = v
		return "", nil
	}
	if !s.Secret {
		return "", nil
	}
	file = values[s.Env+"_FILE"]
	if v, ok := flags[s.Name+"_FILE"]; ok {
		file = v
	}
	if file == "" {
		return "", nil
	}
	if values[s.Env] != "" && flags[s.Name+"_FILE"] == "" {
		return file, fmt.Errorf("%s and %s_FILE are both set: remove one", s.Env, s.Env)
	}
	b, err := os.ReadFile(file) //nolint:gosec // the operator names the file
	if err != nil {
		return file, fmt.Errorf("%s_FILE: %w", s.Env, err)
	}
	values[s.Env] = strings.TrimRight(string(b), "\r\n")
	return file, nil
}

// names holds the variable of each setting, and of each file of a secret.
func names() map[string]bool {
	known := map[string]bool{}
	for _, s := range Settings() {
		known[s.Env] = true
		known[s.Env+"_FILE"] = s.Secret
	}
	return known
}

// unknown reports PGCOURIER_ variables that no setting has: a misspelt name is a fault,
// not a silent default.
func unknown(values map[string]string) error {
	known := names()
	var faults []error
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if strings.HasPrefix(name, Prefix) && !known[name] {
			faults = append(faults, fmt.Errorf("%s: no such setting", name))
		}
	}
	return errors.Join(faults...)
}

// Validate reports all settings that are out of range, together.
func (c Config) Validate() error {
	var faults []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf(Prefix+format, args...))
		}
	}
	check(c.Concurrency >= 1 && c.Concurrency <= 256, "CONCURRENCY: %d is not between 1 and 256", c.Concurrency)
	check(c.NATSReplicas == 1 || c.NATSReplicas == 3 || c.NATSReplicas == 5, "NATS_REPLICAS: %d is not 1, 3 or 5", c.NATSReplicas)
	const leastStream = 1 << 20 // a stream drops at once what is larger than it, an outcome too
	check(c.NATSMaxBytes == 0 || c.NATSMaxBytes >= leastStream, "NATS_STREAM_MAX_BYTES: at least 1MiB, or 0 for none")
	check(c.NATSMaxAcks >= 1, "NATS_MAX_ACK_PENDING: %d is not at least 1", c.NATSMaxAcks)
	check(c.NATSDomain == "" || c.NATSPrefix == "", "NATS_DOMAIN and NATS_API_PREFIX exclude each other: set one of them")
	check(!strings.ContainsAny(c.NATSDomain, " \t\r\n*>.") && !strings.ContainsAny(c.NATSPrefix, " \t\r\n*>"), "NATS_DOMAIN and NATS_API_PREFIX: not a plain subject")
	check(c.AckWait >= time.Second && c.AckWait <= time.Hour, "ACK_WAIT: %s is not between 1s and 1h", c.AckWait)
	check(c.NATSPort == -1 || c.NATSPort > 0 && c.NATSPort < 65536, "NATS_PORT: %d is not a port or -1", c.NATSPort)
	check(c.MaxWaitingPerProject >= 1, "MAX_WAITING_PER_PROJECT: %d is not at least 1", c.MaxWaitingPerProject)
	check(c.MaxBytes >= 0, "MAX_BYTES: must not be negative")
	check(c.SpoolBytes > 0, "SPOOL_BYTES: must be positive")
	check(c.GroupMax >= 0 && c.GroupMax <= 1000, "GROUP_MAX: %d is not between 0 and 1000", c.GroupMax)
	check(c.GroupSpool > 0 && c.GroupBytes > 0, "GROUP_SPOOL and GROUP_PROJECT_BYTES: must be positive")
	check(c.ParallelJobs >= 1 && c.ParallelJobs <= 16, "PARALLEL_JOBS: %d is not between 1 and 16", c.ParallelJobs)
	for _, d := range []struct {
		name string
		v    time.Duration
	}{
		{"TIMEOUT", c.Timeout}, {"UPLOAD_TIMEOUT", c.UploadTimeout}, {"STALL_TIMEOUT", c.StallTimeout}, {"LOCK_TIMEOUT", c.LockTimeout},
		{"RESTORE_KEEP", c.RestoreKeep}, {"PRUNE_EVERY", c.PruneEvery}, {"PRUNE_NOTICE", c.PruneNotice}, {"RETRY_BACKOFF", c.RetryBackoff}, {"DRAIN_TIMEOUT", c.DrainTimeout}, {"OUTCOME_RETENTION", c.OutcomeRetention}, {"EVENT_RETENTION", c.EventRetention},
	} {
		check(d.v > 0, "%s: %s is not positive", d.name, d.v)
	}
	check(c.LedgerRetention == 0 || c.LedgerRetention >= c.OutcomeRetention, "LEDGER_RETENTION: %s is less than OUTCOME_RETENTION, %s: make it at least as long, or 0 for ever", c.LedgerRetention, c.OutcomeRetention)
	check(slices.Contains([]string{"debug", "info", "warn", "error"}, c.LogLevel), "LOG_LEVEL: %q is not debug, info, warn or error", c.LogLevel)
	check(slices.Contains([]string{ClientsWarn, ClientsRefuse, ClientsOff}, c.ClientCheck), "CLIENT_CHECK: %q is not warn, refuse or off", c.ClientCheck)
	check(slices.Contains([]string{SandboxAuto, SandboxRequire, SandboxOff}, c.Sandbox), "SANDBOX: %q is not auto, require or off", c.Sandbox)
	levels := []string{CompressionFast, CompressionDefault, CompressionBest}
	check(slices.Contains(levels, c.Level), "COMPRESSION_LEVEL: %q is not fast, default or best", c.Level)
	required := []string{RecipientsNone, RecipientsAny, RecipientsOperator}
	check(slices.Contains(required, c.RecipientsRequired), "RECIPIENTS_REQUIRED: %q is not none, any or operator", c.RecipientsRequired)
	check(c.RecipientsRequired != RecipientsOperator || len(c.AgeRecipients) > 0 || !c.Serves(RoleWorker), "RECIPIENTS_REQUIRED: operator needs AGE_RECIPIENTS: make a key with `age-keygen -o key.txt`, keep key.txt away from the worker, and name its public line there")
	check(c.LogFormat == "text" || c.LogFormat == "json", "LOG_FORMAT: %q is not text or json", c.LogFormat)
	for _, r := range c.Roles {
		check(slices.Contains([]string{RoleIntake, RoleWorker, RoleSweeper, RoleNotifier, RoleVerifier, RoleRestorer, RolePruner, RoleAPI}, r), "ROLES: %q is not intake, worker, sweeper, notifier, verifier, restorer, pruner or api", r)
	}
	faults = append(faults, c.Notify.validate(c.TelegramToken, c.Roles), c.API.validate(c.Serves(RoleAPI)))
	check((c.NATSTLSCert == "") == (c.NATSTLSKey == ""), "NATS_TLS_CERT and NATS_TLS_KEY go together: set both or neither")
	check((c.NATSCert == "") == (c.NATSKey == ""), "NATS_SERVER_CERT and NATS_SERVER_KEY go together: set both or neither")
	check(c.NATSClientCA == "" || c.NATSCert != "", "NATS_SERVER_CLIENT_CA needs NATS_SERVER_CERT")
	ways := slices.DeleteFunc([]string{c.NATSCreds, c.NATSNKey, c.NATSKeys}, func(s string) bool { return s == "" })
	check(len(ways) <= 1, "NATS_CREDS, NATS_NKEY and NATS_KEYS exclude each other: set one of them")
	check(c.NATSInbox == "" || !strings.ContainsAny(c.NATSInbox, " \t\r\n*>"), "NATS_INBOX_PREFIX: %q is not a plain subject", c.NATSInbox)
	return errors.Join(faults...)
}

// StorageURLs is STORAGE, the primary destination first, or the folder exports in
// DATA_DIR.
func (c Config) StorageURLs() ([]string, error) {
	if len(c.Storage) > 0 {
		return c.Storage, nil
	}
	dir, err := filepath.Abs(filepath.Join(c.DataDir, "exports"))
	if err != nil {
		return nil, fmt.Errorf("resolve %s: %w", c.DataDir, err)
	}
	return []string{"file://" + dir}, nil
}

// Spool is SPOOL_DIR, or the folder spool in DATA_DIR.
func (c Config) Spool() string {
	if c.SpoolDir != "" {
		return c.SpoolDir
	}
	return filepath.Join(c.DataDir, "spool")
}
