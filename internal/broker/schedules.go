package broker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/pgcourier/pgcourier/events"
)

var (
	// ErrScheduleExists says that the project already has a schedule of that name.
	ErrScheduleExists = errors.New("schedule exists")
	// ErrNoSchedule says that the project has no schedule of that name.
	ErrNoSchedule = errors.New("no such schedule")
	// ErrScheduleChanged says that another process changed the schedule in between.
	ErrScheduleChanged = errors.New("schedule was changed meanwhile")
	// ErrSchedulePattern says that the broker refuses a pattern.
	ErrSchedulePattern = errors.New("the broker refuses the schedule's times")
	// ErrScheduleZone says that the broker's time zone database lacks the zone.
	ErrScheduleZone = errors.New("the broker does not know the time zone")
)

// scheduleStep bounds each request of Schedules.
const scheduleStep = 10 * time.Second

// A paused schedule keeps its times in these headers, which the broker does not read.
const (
	pausedHeader     = "Pgcourier-Paused-Schedule"
	pausedZoneHeader = "Pgcourier-Paused-Time-Zone"
)

// appliedHeader marks a schedule that pgcourier apply made.
const appliedHeader = "Pgcourier-Applied"

// badZone is JSMessageSchedulesTimeZoneInvalidErr of nats-server, for which nats.go has no name.
const badZone jetstream.ErrorCode = 10223

// DefaultSchedule is the default name of a project's schedule.
const DefaultSchedule = "default"

// Schedule is a request that the broker makes due repeatedly.
type Schedule struct {
	Project, Name string
	Pattern       string // in the broker's form: six fields, "@every 6h0m0s" or "@daily"
	Zone          string // IANA name; "": UTC
	Paused        bool
	Applied       bool      // pgcourier apply made it
	Body          []byte    // of its requests
	Written       time.Time // time of the last write, by the broker's clock

	// LastDue is the time of the last run, and NextDue the time of the run after that, as the broker
	// stated then. Both are zero before the first run.
	LastDue, NextDue time.Time

	sequence uint64
	header   nats.Header
}

// Schedules reads and writes the schedules on a broker. It is safe for concurrent use. It needs
// publish on events.ScheduleFilter and $JS.API.STREAM.{INFO,MSG.GET,PURGE} of their stream.
type Schedules struct {
	js     jetstream.JetStream
	stream jetstream.Stream
}

// OpenSchedules binds to the stream of schedules. ErrNoSchedules, ErrNotSetUp.
func OpenSchedules(ctx context.Context, js jetstream.JetStream) (*Schedules, error) {
	if err := checkScheduling(js.Conn().ConnectedServerVersion()); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, scheduleStep)
	defer cancel()
	s, err := js.Stream(ctx, events.StreamSchedules)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, fmt.Errorf("%w: the stream %s is missing; a worker makes it when it may", ErrNotSetUp, events.StreamSchedules)
	}
	if err != nil {
		return nil, fmt.Errorf("look up %s: %w", events.StreamSchedules, err)
	}
	// An older server of a cluster ignores unknown settings.
	if c := s.CachedInfo().Config; !c.AllowMsgSchedules {
		return nil, fmt.Errorf("%w: the stream %s was made by a server that ignored its schedules", ErrNoSchedules, c.Name)
	}
	return &Schedules{js: js, stream: s}, nil
}

// Add stores a schedule: Project, Name, Pattern, Zone, Paused, Applied and Body. With replace it replaces a
// schedule of that name. Without it, an existing schedule is ErrScheduleExists. ErrSchedulePattern,
// ErrScheduleZone.
func (s *Schedules) Add(ctx context.Context, add Schedule, replace bool) error {
	found, err := s.Get(ctx, add.Project, add.Name)
	switch {
	case errors.Is(err, ErrNoSchedule):
		add.sequence = 0
	case err != nil:
		return err
	case !replace:
		return fmt.Errorf("%w: %s of project %s", ErrScheduleExists, add.Name, add.Project)
	default:
		add.sequence = found.sequence
	}
	add.header = nil
	return s.put(ctx, add)
}

// Pause keeps a schedule without making it due. With paused false the schedule continues and skips
// the runs of the pause. Pause reports whether it changed anything.
func (s *Schedules) Pause(ctx context.Context, project, name string, paused bool) (changed bool, err error) {
	found, err := s.Get(ctx, project, name)
	if err != nil || found.Paused == paused {
		return false, err
	}
	found.Paused = paused
	return true, s.put(ctx, found)
}

// Get returns one schedule. ErrNoSchedule.
func (s *Schedules) Get(ctx context.Context, project, name string) (Schedule, error) {
	ctx, cancel := context.WithTimeout(ctx, scheduleStep)
	defer cancel()
	m, err := s.stream.GetLastMsgForSubject(ctx, events.ScheduleSubject(project, name))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return Schedule{}, fmt.Errorf("%w: %s of project %s", ErrNoSchedule, name, project)
	}
	if err != nil {
		return Schedule{}, fmt.Errorf("read schedule %s of project %s: %w", name, project, err)
	}
	return s.schedule(ctx, m)
}

// List returns the schedules of a project, or of all projects if project is empty, in the order of
// their last writes. Each costs two requests to the broker.
func (s *Schedules) List(ctx context.Context, project string) ([]Schedule, error) {
	filter := events.ScheduleFilter
	if project != "" {
		filter = events.ScheduleSubject(project, "*")
	}
	out := []Schedule{}
	for next := uint64(1); ; {
		one, found, err := s.after(ctx, next, filter)
		if err != nil || !found {
			return out, err
		}
		next = one.sequence + 1
		if one.Name != "" { // empty: not a subject of this program
			out = append(out, one)
		}
	}
}

// Page returns at most limit schedules as List does, from a position on; 0: from the first. next is
// the position of the next page; 0: this is the last one.
func (s *Schedules) Page(ctx context.Context, project string, from uint64, limit int) (page []Schedule, next uint64, err error) {
	filter := events.ScheduleFilter
	if project != "" {
		filter = events.ScheduleSubject(project, "*")
	}
	for from = max(from, 1); ; {
		one, found, err := s.after(ctx, from, filter)
		if err != nil || !found {
			return page, 0, err
		}
		if len(page) == limit {
			return page, from, nil
		}
		from = one.sequence + 1
		if one.Name != "" {
			page = append(page, one)
		}
	}
}

// after returns the first schedule at or above a sequence.
func (s *Schedules) after(ctx context.Context, sequence uint64, filter string) (Schedule, bool, error) {
	ctx, cancel := context.WithTimeout(ctx, scheduleStep)
	defer cancel()
	m, err := s.stream.GetMsg(ctx, sequence, jetstream.WithGetMsgSubject(filter))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return Schedule{}, false, nil
	}
	if err != nil {
		return Schedule{}, false, fmt.Errorf("list schedules: %w", err)
	}
	one, err := s.schedule(ctx, m)
	return one, err == nil, err
}

// Remove deletes a schedule, and its run that could not be moved to the project's queue yet. A
// request that is already in the queue is not removed. ErrNoSchedule.
func (s *Schedules) Remove(ctx context.Context, project, name string) error {
	if _, err := s.Get(ctx, project, name); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, scheduleStep)
	defer cancel()
	// The schedule is deleted first, because it makes runs until then.
	for _, subject := range []string{events.ScheduleSubject(project, name), events.DueSubject(project, name)} {
		if err := s.stream.Purge(ctx, jetstream.WithPurgeSubject(subject)); err != nil {
			return fmt.Errorf("remove schedule %s of project %s: %w", name, project, err)
		}
	}
	return nil
}

// schedule decodes the message of a schedule and reads its last run.
func (s *Schedules) schedule(ctx context.Context, m *jetstream.RawStreamMsg) (Schedule, error) {
	project, name, ok := events.SplitSchedule(m.Subject)
	if !ok {
		return Schedule{sequence: m.Sequence}, nil
	}
	out := Schedule{
		Project: project, Name: name, Pattern: m.Header.Get(jetstream.ScheduleHeader), Zone: m.Header.Get(jetstream.ScheduleTimeZoneHeader),
		Body: m.Data, Written: m.Time, sequence: m.Sequence, header: m.Header,
	}
	out.Applied = m.Header.Get(appliedHeader) != ""
	if out.Pattern == "" {
		out.Pattern, out.Zone, out.Paused = m.Header.Get(pausedHeader), m.Header.Get(pausedZoneHeader), true
	}
	due, err := s.stream.GetLastMsgForSubject(ctx, events.DueSubject(project, name))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return out, nil
	}
	if err != nil {
		return Schedule{}, fmt.Errorf("read the last run of schedule %s of project %s: %w", name, project, err)
	}
	out.LastDue = due.Time
	// A run of an earlier version of the schedule does not show when the next run is due.
	if due.Header.Get(events.HeaderScheduleEdit) == m.Header.Get(events.HeaderScheduleEdit) && !out.Paused {
		if next, err := time.Parse(time.RFC3339Nano, due.Header.Get(events.HeaderNextDue)); err == nil {
			out.NextDue = next
		}
	}
	return out, nil
}

// put replaces the schedule with the given sequence; 0: there is none. It keeps headers that are
// neither the broker's nor about times, for instance the attributes of an event.
func (s *Schedules) put(ctx context.Context, p Schedule) error {
	ctx, cancel := context.WithTimeout(ctx, scheduleStep)
	defer cancel()
	m := nats.NewMsg(events.ScheduleSubject(p.Project, p.Name))
	m.Data = p.Body
	for key, values := range p.header {
		if !strings.HasPrefix(strings.ToLower(key), "nats-") && key != pausedHeader && key != pausedZoneHeader {
			m.Header[key] = values
		}
	}
	m.Header.Set(events.HeaderScheduleEdit, nuid.Next())
	if p.Applied {
		m.Header.Set(appliedHeader, "true")
	}
	options := []jetstream.PublishOpt{jetstream.WithExpectLastSequencePerSubject(p.sequence)}
	switch {
	case p.Paused:
		m.Header.Set(pausedHeader, p.Pattern)
		if p.Zone != "" {
			m.Header.Set(pausedZoneHeader, p.Zone)
		}
	default:
		options = append(options, jetstream.WithScheduleCron(p.Pattern),
			jetstream.WithScheduleTarget(events.DueSubject(p.Project, p.Name)))
		if p.Zone != "" {
			options = append(options, jetstream.WithScheduleTimeZone(p.Zone))
		}
	}
	_, err := s.js.PublishMsg(ctx, m, options...)
	return refusal(err, p)
}

// refusal returns the error for a refusal of the broker.
func refusal(err error, p Schedule) error {
	if err == nil {
		return nil
	}
	err = fmt.Errorf("store schedule %s of project %s: %w", p.Name, p.Project, err)
	api, ok := errors.AsType[*jetstream.APIError](err)
	switch {
	case wrongSequence(err):
		return fmt.Errorf("%w: %w", ErrScheduleChanged, err)
	case ok && api.ErrorCode == jetstream.JSErrCodeSchedulePatternInvalid:
		return fmt.Errorf("%w (%s): %w", ErrSchedulePattern, p.Pattern, err)
	case ok && api.ErrorCode == badZone:
		return fmt.Errorf("%w (%s): %w", ErrScheduleZone, p.Zone, err)
	case ok && api.ErrorCode == jetstream.JSErrCodeMessageSchedulesDisabled:
		return fmt.Errorf("%w: %w", ErrNoSchedules, err)
	}
	return err
}
