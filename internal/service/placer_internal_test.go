package service

import "testing"

// A name with a dot stays apart from the schema's name.
func TestTablesOfTheContractStayDistinct(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		`acme.orders`:       `"acme"."orders"`,
		`"a.b".c`:           `"a.b"."c"`,
		`a."b.c"`:           `"a"."b.c"`,
		`"A b"."say ""x"""`: `"A b"."say ""x"""`,
	} {
		if got := tableOf(name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}
