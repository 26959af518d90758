package main_test

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestDoctorNamesTheDestinationThatIsIll(t *testing.T) {
	t.Parallel()
	p, c := setup(t), newChat(t)
	stdout, stderr, code := p.cliWith(c.storage(p, ""), "doctor")
	if code != 0 || stdout != "storage file: ok\nstorage telegram: ok\n" {
		t.Errorf("healthy: exit %d, %q, %s", code, stdout, stderr)
	}
	c.Revoke(c.token)
	stdout, stderr, code = p.cliWith(c.storage(p, ""), "doctor", "--output", "json")
	if code != 2 || !strings.Contains(stderr, "storage telegram: ") || strings.Contains(stdout+stderr, c.token) {
		t.Errorf("a revoked token: exit %d, %s", code, stderr)
	}
	var found []struct {
		Check        string
		OK, Required bool
		Error        string
	}
	if err := json.Unmarshal([]byte(stdout), &found); err != nil {
		t.Fatal(err)
	}
	if len(found) != 2 || !found[0].OK || !found[0].Required || found[1].OK || found[1].Required || found[1].Error == "" {
		t.Errorf("found %+v", found)
	}
	_, stderr, code = p.cliWith([]string{"STORAGE=s3://bucket?endpoint=http://127.0.0.1:1&region=x"}, "doctor")
	if code != 5 || !strings.Contains(stderr, "storage s3: ") {
		t.Errorf("an unreachable server: exit %d, %s", code, stderr)
	}
}
