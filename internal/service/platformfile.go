package service

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/api/access"
	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/retention"
	"github.com/pgcourier/pgcourier/internal/schedule"
)

// Platform is what a platform's file declares: schedules, tokens of the API, and rules of retention.
type Platform struct {
	schedules []broker.Schedule
	tokens    []declaredToken
	rules     []retention.Rule
	// lists tells which kinds the file lists, if only as an empty list. Others are not pruned.
	lists struct{ schedules, tokens, rules bool }
}

// declaredToken is a token of a platform's file. Its project and label identify it.
type declaredToken struct {
	access.Token
	valid time.Duration // of a new one; 0: for ever
	file  string        // for a new one's secret; empty: it is printed
}

// platformFile is the form of the file. Unknown names are refused.
type platformFile struct {
	Schedules *[]struct {
		Project string         `yaml:"project"`
		Name    string         `yaml:"name"`
		Cron    string         `yaml:"cron"`
		Zone    string         `yaml:"tz"`
		Paused  bool           `yaml:"paused"`
		Request map[string]any `yaml:"request"`
	} `yaml:"schedules"`
	Tokens *[]struct {
		Project string   `yaml:"project"`
		Label   string   `yaml:"label"`
		Scopes  []string `yaml:"scopes"`
		Expires string   `yaml:"expires"`
		File    string   `yaml:"file"`
	} `yaml:"tokens"`
	Retention *[]struct {
		Project string `yaml:"project"`
		Keep    string `yaml:"keep"`
	} `yaml:"retention"`
}

// tokenLife is how long a new token is valid if the file does not say.
const tokenLife = "90d"

// ParsePlatform reads a platform's file, YAML. The error names every fault of it. A file that is to
// prune and lists nothing is a fault: an empty list would remove all of its kind.
func ParsePlatform(text []byte, prune bool, now time.Time) (Platform, error) {
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	var f platformFile
	if err := d.Decode(&f); err != nil && !errors.Is(err, io.EOF) { // an empty file declares nothing
		return Platform{}, err
	}
	if err := d.Decode(new(any)); !errors.Is(err, io.EOF) {
		return Platform{}, errors.New("the file has more than one document")
	}
	var p Platform
	p.lists.schedules, p.lists.tokens, p.lists.rules = f.Schedules != nil, f.Tokens != nil, f.Retention != nil
	if prune && !p.lists.schedules && !p.lists.tokens && !p.lists.rules {
		return Platform{}, errors.New("the file lists nothing: with --prune it needs a list; an empty one, such as `schedules: []`, removes all of its kind")
	}
	var faults []error
	seen := map[string]bool{}
	fault := func(where string, err error) {
		if err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", where, err))
		}
		if seen[where] {
			faults = append(faults, fmt.Errorf("%s is there twice", where))
		}
		seen[where] = true
	}
	for _, s := range listed(f.Schedules) {
		name := cmp.Or(s.Name, broker.DefaultSchedule)
		one, err := declaredSchedule(s.Project, name, s.Cron, s.Zone, s.Request, now)
		fault(fmt.Sprintf("schedule %s of project %q", name, s.Project), err)
		one.Paused = s.Paused
		p.schedules = append(p.schedules, one)
	}
	for _, t := range listed(f.Tokens) {
		one := declaredToken{Token: access.Token{Project: t.Project, Label: t.Label}, file: t.File}
		var err, expiry error
		one.Scopes, err = access.ParseScopes(t.Scopes)
		one.valid, expiry = access.ParseExpiry(cmp.Or(t.Expires, tokenLife))
		switch {
		case t.Project != access.AllProjects && !events.ValidProject(t.Project):
			err = errors.New("its project is no project id, nor *")
		case t.Label == "" || strings.ContainsAny(t.Label, "\r\n"):
			err = errors.New("it needs a label of one line, by which it is known")
		case err == nil && len(one.Scopes) == 0:
			err = errors.New("it needs a scope")
		}
		fault(fmt.Sprintf("token %q of project %q", t.Label, t.Project), errors.Join(err, expiry))
		p.tokens = append(p.tokens, one)
	}
	for _, r := range listed(f.Retention) {
		one, err := declaredRule(r.Project, r.Keep)
		fault(fmt.Sprintf("retention of project %q", r.Project), err)
		p.rules = append(p.rules, one)
	}
	return p, errors.Join(faults...)
}

// listed returns what is in a list of the file, which may be missing.
func listed[T any](l *[]T) []T {
	if l == nil {
		return nil
	}
	return *l
}

// declaredSchedule returns a schedule as `schedule add` would store it.
func declaredSchedule(project, name, line, zone string, request map[string]any, now time.Time) (broker.Schedule, error) {
	if !events.ValidProject(project) || !events.ValidSchedule(name) {
		return broker.Schedule{}, errors.New("project and name are letters, digits, \"_\" and \"-\"")
	}
	table, err := schedule.Parse(line, zone, now)
	if err != nil {
		return broker.Schedule{}, err
	}
	for _, own := range []string{"project_id", "request_id", "requested_by", "replay_of", "generation"} {
		if _, given := request[own]; given {
			return broker.Schedule{}, fmt.Errorf("its request has no %s of its own", own)
		}
	}
	b, err := json.Marshal(request)
	if err != nil {
		return broker.Schedule{}, err
	}
	var r events.Requested
	strict := json.NewDecoder(bytes.NewReader(b))
	strict.DisallowUnknownFields()
	if err := strict.Decode(&r); err != nil {
		return broker.Schedule{}, fmt.Errorf("its request: %s", strings.TrimPrefix(err.Error(), "json: "))
	}
	r.ProjectID, r.RequestedBy = project, events.RequestedBySchedule(name)
	body, err := r.Canonical()
	return broker.Schedule{Project: project, Name: name, Pattern: table.Pattern(), Zone: table.Zone(), Body: body, Applied: true}, err
}
