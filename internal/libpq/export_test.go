package libpq

import "github.com/pgcourier/pgcourier/internal/secret"

// ParseDSN, NewPassfile, UnnamedFile and MakeBatch give the package's tests its internals.
var (
	ParseDSN    = parse
	NewPassfile = newPassfile
	UnnamedFile = unnamedFile
	MakeBatch   = makeBatch
)

// DiscoverWithin is Discover with another wait.
var DiscoverWithin = discover

// Tail keeps the end of the text that is written to it.
type Tail = tail

// Told are the servers of a DSN, and the settings of a tool for the first.
func Told(dsn secret.String) (hosts []string, env []string, err error) {
	s, err := Parse(dsn)
	if err != nil {
		return nil, nil, err
	}
	for _, e := range s.Endpoints() {
		hosts = append(hosts, e.Host+" "+e.Port)
	}
	return hosts, s.Environment(s.endpoints[0], "", "test", "-c enable_mergejoin=off"), nil
}
