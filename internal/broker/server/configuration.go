package server

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/pgcourier/pgcourier/events"
)

// mainAccount holds the streams, the workers and the administrator. Each other user has its own
// account, which imports only the subjects of its rights. In one account with the streams, a user
// with any right to publish could name a subject, for instance an outcome's, as the reply subject,
// and the broker would write to it: the broker checks the rights on the subject only. Between
// accounts a reply goes back to its sender only.
const mainAccount = "PGCOURIER"

func accountOf(u User) string {
	if u == UserWorker || u == UserAdmin {
		return mainAccount
	}
	return mainAccount + "_" + strings.ToUpper(string(u))
}

// provider returns the account that answers a subject to which users of other accounts publish.
func provider(subject string) string {
	switch subject {
	case events.CallFilter, discovery:
		return accountOf(UserAPI)
	case events.RestoreCancelFilter:
		return accountOf(UserRestorer)
	}
	return mainAccount
}

// Configuration returns the part of a nats-server configuration with the accounts, the users and
// their rights. keys are those of Users and, for an external server, of UserAdmin. publishers maps
// a project to the public keys that may request its exports; they share the gateway's account. A
// user without a key is left out.
func Configuration(keys PublicKeys, publishers map[string]string) (string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "accounts {\n  %s {\n    jetstream: enabled\n", mainAccount)
	b.WriteString("    users: [\n")
	for _, u := range []User{UserWorker, UserAdmin} {
		writeUser(&b, string(u), keys[u], u.Rights())
	}
	b.WriteString("    ]\n")
	writeExports(&b, mainAccount)
	b.WriteString("  }\n")
	for _, u := range Users() {
		if accountOf(u) == mainAccount {
			continue
		}
		fmt.Fprintf(&b, "  %s {\n    users: [\n", accountOf(u))
		writeUser(&b, string(u), keys[u], u.Rights())
		if u == UserGateway {
			for _, project := range slices.Sorted(maps.Keys(publishers)) {
				rights, err := PublisherRights(project)
				if err != nil {
					return "", err
				}
				writeUser(&b, "publisher of "+project, publishers[project], rights)
			}
		}
		b.WriteString("    ]\n")
		if u == UserAPI || u == UserRestorer {
			writeExports(&b, accountOf(u))
		}
		writeImports(&b, u)
		b.WriteString("  }\n")
	}
	b.WriteString("}\n")
	return b.String(), nil
}

// writeExports writes what each account may import of the account named of.
func writeExports(b *strings.Builder, of string) {
	services, streams := map[string][]string{}, map[string][]string{}
	for _, u := range Users() {
		if accountOf(u) == mainAccount {
			continue
		}
		for _, s := range u.Rights().Publish {
			if provider(s) == of {
				services[s] = append(services[s], accountOf(u))
			}
		}
		for _, s := range u.imported() {
			if of == mainAccount {
				streams[s] = append(streams[s], accountOf(u))
			}
		}
	}
	b.WriteString("    exports: [\n")
	for _, s := range slices.Sorted(maps.Keys(services)) {
		fmt.Fprintf(b, "      { service: %q, accounts: [%s], response_type: %s }\n", s, strings.Join(services[s], ", "), responses(s))
	}
	for _, s := range slices.Sorted(maps.Keys(streams)) {
		fmt.Fprintf(b, "      { stream: %q, accounts: [%s] }\n", s, strings.Join(streams[s], ", "))
	}
	b.WriteString("    ]\n")
}

// responses returns the option for the number of answers to one message: each worker, or each restorer,
// answers a cancel, each API answers a discovery, and a pull gets messages and a status.
func responses(subject string) string {
	if subject == events.CancelFilter || subject == events.RestoreCancelFilter || subject == discovery || strings.HasPrefix(subject, api+"CONSUMER.MSG.NEXT.") {
		return "stream"
	}
	return "singleton"
}

func writeImports(b *strings.Builder, u User) {
	b.WriteString("    imports: [\n")
	for _, s := range u.Rights().Publish {
		fmt.Fprintf(b, "      { service: { account: %s, subject: %q } }\n", provider(s), s)
	}
	for _, s := range u.imported() {
		fmt.Fprintf(b, "      { stream: { account: %s, subject: %q } }\n", mainAccount, s)
	}
	b.WriteString("    ]\n")
}

// imported returns the subjects of other accounts that u subscribes to.
func (u User) imported() []string {
	if slices.Contains(u.Rights().Subscribe, announcements) {
		return events.AllFilters()
	}
	return nil
}

func writeUser(b *strings.Builder, name, key string, r Rights) {
	if key == "" {
		return
	}
	list := func(label string, subjects []string) {
		if len(subjects) == 0 {
			return
		}
		fmt.Fprintf(b, "            %s: [\n", label)
		for _, s := range subjects {
			fmt.Fprintf(b, "              %q\n", s)
		}
		b.WriteString("            ]\n")
	}
	fmt.Fprintf(b, "      { # %s\n        nkey: %s\n        permissions {\n          publish {\n", name, key)
	list("allow", append(slices.Clone(r.Publish), ownRights))
	list("deny", r.DenyPublish)
	b.WriteString("          }\n          subscribe {\n")
	list("allow", r.Subscribe)
	list("deny", r.DenySubscribe)
	b.WriteString("          }\n")
	if r.Respond > 0 {
		fmt.Fprintf(b, "          allow_responses: { max: %d, expires: \"1m\" }\n", r.Respond)
	}
	b.WriteString("        }\n      }\n")
}
