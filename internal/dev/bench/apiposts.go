package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pgcourier/pgcourier/events"
)

func publishName(n int) string { return fmt.Sprintf("a bare publish, %d at a time", n) }
func postName(n int) string    { return fmt.Sprintf("POST, %d at a time", n) }

// ask makes a round's calls with a limited concurrency, and records the duration of each. The
// trial's time is the median.
func (p *apiPart) ask(ctx context.Context, name string, atATime int, one func(ctx context.Context, project string) error) (trial, error) {
	calls := max(1, p.requests/p.rounds)
	p.asked++
	took := make([]float64, calls)
	var next atomic.Int64
	var all sync.WaitGroup
	errs := make([]error, atATime)
	for i := range atATime {
		all.Go(func() {
			for n := int(next.Add(1)) - 1; n < calls && errs[i] == nil; n = int(next.Add(1)) - 1 {
				began := time.Now()
				errs[i] = one(ctx, fmt.Sprintf("p%d-%d-%d", p.asked, atATime, n))
				took[n] = float64(time.Since(began).Microseconds()) / 1000
			}
		})
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		return trial{}, err
	}
	p.post[name] = append(p.post[name], took...)
	return trial{Wall: quantile(slices.Sorted(slices.Values(took)), 0.5) / 1000}, nil
}

func (p *apiPart) publish(ctx context.Context, project string) error {
	_, err := p.w.client.RequestBackup(ctx, events.Requested{ProjectID: project, Format: events.FormatCustom})
	return err
}

// gateway reuses its connections, as a gateway does.
var gateway = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 8}}

func (p *apiPart) postOne(ctx context.Context, project string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.w.api+"/v1/projects/"+project+"/exports", strings.NewReader(`{"format":"custom"}`))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+p.token)
	resp, err := gateway.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusAccepted {
		return fmt.Errorf("POST: %s: %s", resp.Status, bytes.TrimSpace(body))
	}
	return nil
}
