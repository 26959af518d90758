package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

const (
	linkName = "pgcourier, by a link"
	slowName = "slow readers"
	pageName = "pages"

	// slow is the number of concurrent clients that read slowly.
	slow = 64
	// step is the number of bytes that each of them reads at a time, pause the wait after that.
	step, pause = 64 << 10, 20 * time.Millisecond
)

// fetch downloads once and discards the bytes.
func (p *apiPart) fetch(ctx context.Context, method, url string, pid int) (t trial, err error) {
	before := processor(pid)
	began := time.Now()
	body, err := p.open(ctx, method, url)
	if err != nil {
		return t, err
	}
	defer func() { _ = body.Close() }()
	buf, n := make([]byte, 256<<10), int64(0)
	for {
		m, err := body.Read(buf)
		n += int64(m)
		if err == io.EOF { // a complete body ends with io.EOF itself, not with a wrapped one
			break
		}
		if err != nil {
			return t, fmt.Errorf("%s after %d bytes: %w", url, n, err)
		}
	}
	t.Wall, t.Output = time.Since(began).Seconds(), n
	t.CPU = processor(pid) - before
	if n != p.bytes {
		return t, fmt.Errorf("%s gave %d bytes of %d", url, n, p.bytes)
	}
	return t, nil
}

// open begins a download on its own connection.
func (p *apiPart) open(ctx context.Context, method, url string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true, DisableCompression: true, ReadBufferSize: 256 << 10}}).Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, errors.Join(fmt.Errorf("%s: %s", url, resp.Status), resp.Body.Close())
	}
	return resp.Body, nil
}

// slowReaders reads the server's memory before, during and after the downloads of many slow
// clients.
func (p *apiPart) slowReaders(ctx context.Context, r *result) error {
	p.tell("%d slow readers", slow)
	resident := func() float64 { return float64(status(p.w.pid(), "RssAnon")) / mebibyte }
	before := resident()
	until := min(p.bytes/2, 16<<20)
	var early, late, all sync.WaitGroup
	quit := make(chan struct{})
	early.Add(slow)
	late.Add(slow)
	errs := make([]error, slow)
	for i := range slow {
		all.Go(func() {
			atEarly, atLate := sync.OnceFunc(early.Done), sync.OnceFunc(late.Done)
			defer atEarly()
			defer atLate()
			body, err := p.open(ctx, http.MethodPost, p.w.api+p.link)
			if err != nil {
				errs[i] = err
				return
			}
			defer func() { _ = body.Close() }()
			buf := make([]byte, step)
			for n := int64(0); n < until; {
				m, err := io.ReadFull(body, buf[:min(step, until-n)])
				if n += int64(m); err != nil {
					errs[i] = err
					return
				}
				if n >= until/8 {
					atEarly()
				}
				time.Sleep(pause) // the pause makes the client slow
			}
			atLate()
			<-quit
		})
	}
	early.Wait()
	soon := resident()
	late.Wait()
	later := resident()
	close(quit)
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	time.Sleep(time.Second) // the server sees that the clients have gone
	peak := float64(status(p.w.pid(), "VmHWM")) / mebibyte
	t := table{head: []string{fmt.Sprintf("%d slow readers at the same time", slow), "memory of the process without its files (RssAnon), MiB"}}
	for _, row := range []struct {
		when string
		v    float64
	}{
		{"before", before}, {fmt.Sprintf("when each has %.1f MiB", float64(until/8)/mebibyte), soon},
		{fmt.Sprintf("when each has %.1f MiB", float64(until)/mebibyte), later}, {"a second after they have gone", resident()},
	} {
		t.add(row.when, fmt.Sprintf("%.1f", row.v))
	}
	r.tables = append(r.tables, t)
	r.notes = append(r.notes, fmt.Sprintf("The process had %.0f MiB resident at most in the whole run (VmHWM), its embedded broker and its program text with it.", peak))
	one := func(v float64) stat { return stat{Median: v, Min: v, Max: v, Rounds: 1} }
	r.Figures = append(r.Figures,
		figure{Name: "memory_of_a_download", Text: fmt.Sprintf("memory of each of %d slow downloads", slow), Value: one((max(soon, later) - before) * 1024 / slow), Unit: "KiB", Kind: atMost, Limit: 512},
		figure{Name: "memory_grows", Text: "the same later to early: it does not grow with what was sent", Value: one(later / max(soon, 1)), Kind: atMost, Limit: 1.1})
	return nil
}
