package pgdump

import "strconv"

// passfileFD is the descriptor under which the child has its passfile: the first of
// exec.Cmd's ExtraFiles.
const passfileFD = 3

// environment is everything pg_dump knows beside its arguments. It is the same server,
// database and TLS as the session's, because a snapshot belongs to one server; nothing is
// inherited, because PGSERVICE, PGOPTIONS, PGCLIENTENCODING and the like change the dump.
// The environment of a process can be read by its user, so it holds no secret.
func (s *source) environment(ses *session, application string) []string {
	opts := options
	if ses.liveness {
		opts += " -c " + livenessOption + "=500"
	}
	env := []string{
		"LC_ALL=C", "TZ=UTC", // the archive's own time of creation is in local time
		"HOME=/nonexistent", // libpq looks there for certificates, services and passwords
		"PGHOST=" + ses.at.host,
		"PGPORT=" + ses.at.port,
		"PGUSER=" + s.settings["user"],
		// Unlike --dbname, PGDATABASE is never taken for a connection string.
		"PGDATABASE=" + s.settings["dbname"],
		"PGPASSFILE=/proc/self/fd/" + strconv.Itoa(passfileFD),
		"PGAPPNAME=" + application,
		"PGOPTIONS=" + opts,
		"PGGSSENCMODE=disable", // pgx does not encrypt with GSSAPI either
		"PGCONNECT_TIMEOUT=" + s.settings["connect_timeout"],
	}
	if ses.address != "" { // a name can lead to several servers
		env = append(env, "PGHOSTADDR="+ses.address)
	}
	for _, v := range [][2]string{
		{"PGSSLMODE", "sslmode"}, {"PGSSLROOTCERT", "sslrootcert"}, {"PGSSLCERT", "sslcert"},
		{"PGSSLKEY", "sslkey"}, {"PGSSLCERTMODE", "sslcertmode"}, {"PGSSLSNI", "sslsni"},
		{"PGSSLNEGOTIATION", "sslnegotiation"}, {"PGCHANNELBINDING", "channel_binding"},
		{"PGREQUIREAUTH", "require_auth"},
	} {
		if value := s.settings[v[1]]; value != "" {
			env = append(env, v[0]+"="+value)
		}
	}
	return env
}
