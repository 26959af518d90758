package libpq

import "strconv"

// passfileFD is the descriptor under which a child has its passfile: the first of
// exec.Cmd's ExtraFiles.
const passfileFD = 3

// Environment is everything a tool knows beside its arguments, so that it reaches the same
// server and database with the same TLS as a session does. address pins the server where a
// name leads to several; application is its name in pg_stat_activity; options are server
// settings such as "-c enable_mergejoin=off". Nothing is inherited: PGSERVICE, PGOPTIONS,
// PGCLIENTENCODING and the like change what a tool does. The environment of a process can
// be read by its user, so it holds no secret: the password is in the passfile that
// StartProcess hands over.
func (s *Source) Environment(at Endpoint, address, application, options string) []string {
	env := []string{
		"LC_ALL=C", "TZ=UTC", // an archive's own time of creation is in local time
		"HOME=/nonexistent", // libpq looks there for certificates, services and passwords
		"PGHOST=" + at.Host,
		"PGPORT=" + at.Port,
		"PGUSER=" + s.settings["user"],
		// Unlike --dbname, PGDATABASE is never taken for a connection string.
		"PGDATABASE=" + s.settings["dbname"],
		"PGPASSFILE=" + descriptors + strconv.Itoa(passfileFD),
		"PGAPPNAME=" + application,
		"PGOPTIONS=" + options,
		"PGGSSENCMODE=disable", // pgx does not encrypt with GSSAPI either
		"PGCONNECT_TIMEOUT=" + s.settings["connect_timeout"],
	}
	if address != "" {
		env = append(env, "PGHOSTADDR="+address)
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
