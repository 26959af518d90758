package server_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	natsd "github.com/nats-io/nats-server/v2/server"

	"github.com/pgcourier/pgcourier/internal/broker/server"
)

// noSeeds are public keys; their seeds were deleted.
var noSeeds = server.PublicKeys{
	server.UserGateway:  "UDCEF74TPHUH2ZAV6OTQUS3TEMUDK2P2FSYUH6A7DMEQRBA6ZWNDVQRC",
	server.UserWorker:   "UADU6OOUHVT4AI6NKWUQ2HACMILGZZJFU7IQDNBS62DL7ZU7N2CCZ2RH",
	server.UserNotifier: "UBV2TMKQD6WCC4O2GFAG7DFJX5H5DP372LZQE4TSEIYMYPQMABFG6YLU",
	server.UserVerifier: "UABW64BEIGDJSOLCJVGF5DRRFPCZRWK525EPR3JZXCGIODV2LFWVU6FF",
	server.UserRestorer: "UDSX5UTV76V67JIXXXAI4YYSVRS7S6IFIQRRMJ5IP25VBNFWVISWUSV7",
	server.UserAPI:      "UAKYSNPCQN7LFCANWSZBU5NUFOJQKPAQIPK6RB5ARYYKCQFXMG2WHTKW",
	server.UserOperator: "UCVEWDODQDZMYDCKQ5LWV2WZM2GQ7WFTDCLZUATUTQXS7FBZFZUGC634",
	server.UserAdmin:    "UDFKOSU4BZ6URLJ4NELBFPP7WENYZBRVCL6RCJP5H6QYEFM7YBBG3RMG",
	publisher:           "UBAXG774SIRAVWVVO7XY2BNETZ5GAGAPTE5DUKBYIPUPLYVBLG6OJVLD",
}

// The shipped example is the generated text, and nats-server accepts it.
func TestTheShippedConfigurationIsTheGenerated(t *testing.T) {
	t.Parallel()
	text, err := server.Configuration(noSeeds, map[string]string{"acme": noSeeds["publisher"]})
	must(t, err)
	text = "# What `pgcourier broker config --publisher acme=...` prints. No seed exists for these keys.\n" + text
	file := filepath.Join("..", "..", "..", "deploy", "nats", "users.conf")
	if *update {
		must(t, os.WriteFile(file, []byte(text), 0o600))
	}
	shipped, err := os.ReadFile(file)
	must(t, err)
	if string(shipped) != text {
		t.Error("deploy/nats/users.conf is not up to date: go test ./internal/broker/server -run Shipped -update")
	}
	opts, err := natsd.ProcessConfigFile(file)
	must(t, err)
	if len(opts.Nkeys) != len(noSeeds) {
		t.Errorf("%d users, want %d", len(opts.Nkeys), len(noSeeds))
	}
}

func TestConfigurationRefusesWhatIsNoProject(t *testing.T) {
	t.Parallel()
	for _, project := range []string{"", "_", "*", "a.b", ">", "a b", `a"b`} {
		if text, err := server.Configuration(noSeeds, map[string]string{project: noSeeds[server.UserGateway]}); err == nil {
			t.Errorf("%q got rights: %s", project, text[strings.Index(text, "publisher"):])
		}
	}
}
