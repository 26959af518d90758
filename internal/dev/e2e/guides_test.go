package e2e_test

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/mattn/go-shellwords"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/config"
)

// documents are the names of all Markdown files except the changelog, which describes the past.
func documents(t *testing.T) (names []string) {
	t.Helper()
	names = []string{"README.md", "SECURITY.md"}
	err := filepath.WalkDir(filepath.Join(root, "docs"), func(file string, d fs.DirEntry, err error) error {
		if err == nil && d.Name() == "node_modules" {
			return fs.SkipDir
		}
		if err == nil && strings.HasSuffix(file, ".md") {
			name, relErr := filepath.Rel(root, file)
			names, err = append(names, filepath.ToSlash(name)), relErr
		}
		return err
	})
	if err != nil || len(names) < 20 {
		t.Fatalf("documents %q: %v", names, err)
	}
	return names
}

// deployFiles returns the files of deploy/ that match pattern, as paths from the root of the
// module.
func deployFiles(t *testing.T, pattern string) (names []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, "deploy", pattern))
	if err != nil || len(files) == 0 {
		t.Fatalf("deploy/%s: %q (%v)", pattern, files, err)
	}
	for _, f := range files {
		name, err := filepath.Rel(root, f)
		if err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(f); err != nil || info.IsDir() {
			continue
		}
		names = append(names, filepath.ToSlash(name))
	}
	return names
}

// knownVariables are the names of all settings, and of the files of those that are secrets.
func knownVariables() map[string]bool {
	known := map[string]bool{}
	for _, s := range config.Settings() {
		known[s.Env] = true
		if s.Secret {
			known[s.Env+"_FILE"] = true
		}
	}
	return known
}

var variableName = regexp.MustCompile(`\bPGCOURIER_[A-Z0-9_]+`)

func TestTheDocumentsNameSettingsThatExist(t *testing.T) {
	t.Parallel()
	known, seen := knownVariables(), 0
	names := slices.Concat(documents(t), deployFiles(t, "systemd/*"), deployFiles(t, "kubernetes/*"), deployFiles(t, "compose/*"),
		deployFiles(t, "helm/*"), deployFiles(t, "helm/*/*"), []string{"Dockerfile"})
	for _, name := range names {
		for _, v := range variableName.FindAllString(readRoot(t, name), -1) {
			if seen++; !known[v] {
				t.Errorf("%s names %s, which is not a setting", name, v)
			}
		}
	}
	if seen < 100 {
		t.Errorf("%d names of settings were found", seen)
	}
}

var (
	// wrapper is a prefix of a command that runs elsewhere or as another user.
	wrapper    = regexp.MustCompile(`^\s*(?:sudo(?: -u \S+)? |docker compose (?:--file \S+ )?(?:exec|run --rm) \S+ |kubectl .* -- )`)
	assignment = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*=`)
	comment    = regexp.MustCompile(`(^|\s)#.*$`)
	inlineCode = regexp.MustCompile("`((?:build/)?pgcourier [^`\n]+)`")
	aroundCode = regexp.MustCompile("(?s)\n```.*?\n```")
)

// commandLines splits a line of shell into the arguments of each pgcourier in it.
func commandLines(t *testing.T, where, line string) (all [][]string) {
	t.Helper()
	rest := comment.ReplaceAllString(line, "")
	for rest != "" {
		parser := shellwords.NewParser()
		words, err := parser.Parse(wrapper.ReplaceAllString(rest, ""))
		if err != nil {
			t.Errorf("%s: %s: %v", where, line, err)
			return all
		}
		for len(words) > 0 && assignment.MatchString(words[0]) {
			words = words[1:]
		}
		if len(words) > 0 && path.Base(words[0]) == "pgcourier" {
			all = append(all, words[1:])
		}
		if parser.Position < 0 {
			return all
		}
		rest = strings.TrimLeft(wrapper.ReplaceAllString(rest, "")[parser.Position:], "&|;")
		if strings.HasPrefix(rest, ">") || strings.HasPrefix(rest, "<") {
			return all // what follows is a file
		}
	}
	return all
}

// The program accepts each pgcourier command line in a document.
func TestTheDocumentsCommandsExist(t *testing.T) {
	t.Parallel()
	typed, named := 0, 0
	for _, name := range documents(t) {
		text := readRoot(t, name)
		for _, block := range shellBlocks(text) {
			for line := range strings.Lines(strings.ReplaceAll(block, "\\\n", " ")) {
				if !strings.Contains(line, "pgcourier") {
					continue
				}
				for _, args := range commandLines(t, name, strings.TrimSpace(line)) {
					typed++
					accepts(t, name, args)
				}
			}
		}
		for _, m := range inlineCode.FindAllStringSubmatch(aroundCode.ReplaceAllString(text, ""), -1) {
			// Alternatives are not a command line, and cobra adds --version when it runs.
			if strings.ContainsAny(m[1], "|…[") || strings.HasSuffix(m[1], " --version") {
				continue
			}
			for _, args := range commandLines(t, name, m[1]) {
				named++
				accepts(t, name, args)
			}
		}
	}
	if typed < 30 || named < 20 {
		t.Errorf("%d command lines were found in blocks, %d in the text", typed, named)
	}
}

var (
	markdownLink = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading      = regexp.MustCompile(`(?m)^#{1,6} (.+)$`)
	linkText     = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)
	notInAnchor  = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// anchors are the fragments under which GitHub shows a document's headings.
func anchors(markdown string) map[string]bool {
	out := map[string]bool{}
	for _, m := range heading.FindAllStringSubmatch(aroundCode.ReplaceAllString(markdown, ""), -1) {
		name := strings.ToLower(strings.TrimSpace(linkText.ReplaceAllString(m[1], "$1")))
		out[strings.ReplaceAll(notInAnchor.ReplaceAllString(name, ""), " ", "-")] = true
	}
	return out
}

// checkLink fails unless a link from a document leads to a file of the repository, and to a
// heading of it.
func checkLink(t *testing.T, from, link string) {
	t.Helper()
	file, anchor, _ := strings.Cut(link, "#")
	target := from
	if file != "" {
		target = path.Join(path.Dir(from), file)
	}
	info, err := os.Stat(filepath.Join(root, target))
	if err != nil {
		t.Errorf("%s links to %s: %v", from, link, err)
		return
	}
	if anchor != "" && (info.IsDir() || !anchors(readRoot(t, target))[anchor]) {
		t.Errorf("%s links to %s: no such heading", from, link)
	}
}

func TestTheDocumentsLinksLeadSomewhere(t *testing.T) {
	t.Parallel()
	links := 0
	for _, name := range append(documents(t), "CHANGELOG.md") {
		for _, m := range markdownLink.FindAllStringSubmatch(aroundCode.ReplaceAllString(readRoot(t, name), ""), -1) {
			if strings.Contains(m[1], "://") || strings.HasPrefix(m[1], "mailto:") {
				continue
			}
			links++
			checkLink(t, name, m[1])
		}
	}
	if links < 60 {
		t.Errorf("%d links were found", links)
	}
	for _, r := range alertRules(t) {
		runbook, ok := strings.CutPrefix(r.Annotations["runbook_url"], "https://"+module+"/blob/main/")
		if !ok {
			t.Errorf("%s has the runbook %s", r.Alert, r.Annotations["runbook_url"])
			continue
		}
		checkLink(t, "README.md", runbook)
	}
}

// Each heading of the runbook is an alert.
func TestTheRunbookHasNoOtherAlerts(t *testing.T) {
	t.Parallel()
	known := map[string]bool{}
	for _, r := range alertRules(t) {
		known[r.Alert] = true
	}
	for _, m := range regexp.MustCompile(`(?m)^### (Pgcourier\w+)$`).FindAllStringSubmatch(readRoot(t, "docs/operate.md"), -1) {
		if !known[m[1]] {
			t.Errorf("docs/operate.md has a section %s, which is not an alert", m[1])
		}
	}
}

// The runbook has each code of the contract, where it says whether asking again may help.
func TestTheRunbookKnowsTheCodes(t *testing.T) {
	t.Parallel()
	_, text, _ := strings.Cut(readRoot(t, "docs/operate.md"), "## Codes\n")
	text, _, _ = strings.Cut(text, "## Alerts\n")
	table, rest, ok := strings.Cut(text, "The transient ones")
	all := codes.OfFailures()
	if !ok || len(all) < 20 {
		t.Fatalf("%d codes in\n%s", len(all), text)
	}
	for _, c := range all {
		code, permanent := "`"+string(c)+"`", c.Permanent()
		if strings.Contains(table, code) != permanent {
			t.Errorf("docs/operate.md: in the table of permanent codes, %s is permanent: %t", code, permanent)
		}
		if strings.Contains(rest, code) == permanent {
			t.Errorf("docs/operate.md: among the transient codes, %s is permanent: %t", code, permanent)
		}
	}
}

// The decoder of links finds the valid ones and refuses the others.
func TestTheDocumentsCheckersFindFaults(t *testing.T) {
	t.Parallel()
	if a := anchors("# `A` b: c\n\n```\n# no\n```\n## [X](y) z\n"); !a["a-b-c"] || !a["x-z"] || len(a) != 2 {
		t.Errorf("anchors %v", a)
	}
	got := commandLines(t, "here", `A=1 build/pgcourier list --failed && sudo -u x pgcourier show 'a b' > out # pgcourier no`)
	if len(got) != 2 || !slices.Equal(got[0], []string{"list", "--failed"}) || !slices.Equal(got[1], []string{"show", "a b"}) {
		t.Errorf("command lines %q", got)
	}
	if blocks := shellBlocks("```sh\na\n```\n```text\nb\n```\n```sh\nc\n```\n"); !slices.Equal(blocks, []string{"a\n", "c\n"}) {
		t.Errorf("blocks %q", blocks)
	}
	if known := knownVariables(); known["PGCOURIER_DATA_DIR_FILE"] || !known["PGCOURIER_SMTP_URL_FILE"] {
		t.Error(errors.New("a file for what is no secret, or none for a secret"))
	}
}

// A core publish is not acknowledged by a stream: what the stream refuses is lost, although the CLI
// prints "Published".
func TestTheDocumentsPublishThroughJetStream(t *testing.T) {
	t.Parallel()
	published := regexp.MustCompile(`nats pub (.*)`)
	commands := 0
	for _, name := range slices.Concat(documents(t), deployFiles(t, "*/*"), deployFiles(t, "helm/*/*"), []string{"CONTRIBUTING.md"}) {
		for _, m := range published.FindAllStringSubmatch(readRoot(t, name), -1) {
			if strings.Contains(m[1], "backup.") {
				commands++
				if !strings.HasPrefix(m[1], "--jetstream ") {
					t.Errorf("%s publishes without --jetstream: %s", name, m[0])
				}
			}
		}
	}
	if commands < 4 {
		t.Errorf("%d commands were found", commands)
	}
}
