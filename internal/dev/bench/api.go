package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/dustin/go-humanize"

	"github.com/pgcourier/pgcourier/events"
)

const (
	apiDatabase = "handed_over"
	apiProject  = "handed-over"
)

// apiPart measures the role api as its own process, with its embedded broker.
type apiPart struct {
	*lab
	w     *worker
	token string
	post  map[string][]float64 // milliseconds of each call, by variant
	asked int                  // rounds of calls, so that each request is of another project
	file  string               // the stored export
	bytes int64
	link  string // path of a link to it
}

// handOver measures what a gateway and a customer use: POST, pages, downloads.
func handOver(ctx context.Context, l *lab) (r result, err error) {
	p := &apiPart{lab: l, post: map[string][]float64{}}
	if err := p.store(ctx); err != nil {
		return r, err
	}
	defer func() {
		if p.w != nil {
			err = errors.Join(err, p.w.close())
		}
	}()
	r = result{Scale: fmt.Sprintf("%d rounds, a stored file of %s.", l.rounds, humanize.Bytes(uint64(p.bytes)))} //nolint:gosec // not negative
	peer, err := p.fileServer(ctx)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, peer.close()) }()
	var variants []variant
	for _, n := range []int{1, 8} {
		variants = append(variants,
			variant{name: publishName(n), run: func(ctx context.Context) (trial, error) { return p.ask(ctx, publishName(n), n, p.publish) }},
			variant{name: postName(n), run: func(ctx context.Context) (trial, error) { return p.ask(ctx, postName(n), n, p.postOne) }})
	}
	variants = append(variants,
		variant{name: peer.name, run: func(ctx context.Context) (trial, error) { return p.fetch(ctx, "GET", peer.url, peer.pid()) }},
		variant{name: linkName, run: func(ctx context.Context) (trial, error) { return p.fetch(ctx, "POST", p.w.api+p.link, p.w.pid()) }})
	for _, v := range variants { // warms up the connections, the file and both servers
		if l.wants(v.name) {
			if _, err := v.run(ctx); err != nil {
				return r, err
			}
		}
	}
	clear(p.post) // of the warm-up
	if r.Series, err = l.interleave(ctx, "api", variants); err != nil {
		return r, err
	}
	p.reportPosts(&r)
	p.reportDownloads(&r, peer)
	if l.wants(slowName) {
		if err := p.slowReaders(ctx, &r); err != nil {
			return r, err
		}
	}
	if l.wants(pageName) {
		if err := pages(ctx, l, &r); err != nil {
			return r, err
		}
	}
	for i := range r.Figures {
		r.Figures[i] = r.Figures[i].judged()
	}
	return r, nil
}

// store exports one project into a folder, and starts the role api beside it.
func (p *apiPart) store(ctx context.Context) error {
	p.tell("loading about %s", humanize.Bytes(uint64(p.size))) //nolint:gosec // not negative
	if err := p.loading(ctx, func() error { return p.loadLarge(ctx, apiDatabase, p.size) }); err != nil {
		return err
	}
	if err := p.enrol(ctx, apiDatabase, map[string]string{apiProject: schemaOfWall}); err != nil {
		return err
	}
	w, err := p.startWorker(ctx)
	if err != nil {
		return err
	}
	c, _, _, err := w.ask(ctx, events.Requested{ProjectID: apiProject, RequestID: "one", Compression: events.CompressionNone})
	if err == nil {
		p.file, err = w.file(c)
		p.bytes = c.StoredBytes
	}
	if err = errors.Join(err, w.stop()); err != nil {
		return errors.Join(err, os.RemoveAll(w.dir))
	}
	if err := p.drop(ctx, apiDatabase); err != nil {
		return err
	}
	const public = "PUBLIC_URL=http://127.0.0.1"
	if p.w, err = p.startWorkerOn(ctx, w.dir, rolesAPI, "API_ADDR=127.0.0.1:0", "API_RATE=1000000", public); err != nil {
		return err
	}
	if p.token, err = p.command(ctx, "token", "create", "--project", "*", "--scope", "export"); err != nil {
		return err
	}
	url, err := p.command(ctx, "link", "create", apiProject+"/one")
	p.link = strings.TrimPrefix(url, strings.TrimPrefix(public, "PUBLIC_URL="))
	return err
}

// command runs one of our commands with the worker's settings, and returns its output.
func (p *apiPart) command(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, p.binary, args...) //nolint:gosec // just built
	cmd.Dir, cmd.Env = p.w.dir, p.w.cmd.Env
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w", cmd, err)
	}
	return strings.TrimSpace(string(out)), nil
}

// reportPosts reports the duration of a call.
func (p *apiPart) reportPosts(r *result) {
	t := table{head: []string{"to `backup.requested` stored", "calls", "median, ms", "99th percentile, ms"}}
	for _, n := range []int{1, 8} {
		for _, name := range []string{publishName(n), postName(n)} {
			all := slices.Sorted(slices.Values(p.post[name]))
			if len(all) == 0 {
				continue
			}
			t.add(name, strconv.Itoa(len(all)), fmt.Sprintf("%.2f", quantile(all, 0.5)), fmt.Sprintf("%.2f", quantile(all, 0.99)))
			if name == postName(n) {
				at := stat{Median: quantile(all, 0.99), Min: all[0], Max: all[len(all)-1], Rounds: len(all)}
				r.Figures = append(r.Figures, figure{Name: "post_p99_" + strconv.Itoa(n), Text: name + ", 99th percentile", Value: at, Unit: "ms", Kind: below, Limit: 10})
			}
		}
		if ours, bare := medians(r.Series[postName(n)]), medians(r.Series[publishName(n)]); len(ours) > 0 && len(bare) > 0 {
			r.Figures = append(r.Figures, figure{Name: "post_to_publish_" + strconv.Itoa(n), Text: fmt.Sprintf("POST to a bare publish, median, %d at a time", n), Value: ratio(ours, bare)})
		}
	}
	if len(t.rows) > 0 {
		r.tables = append(r.tables, t)
		r.about = append(r.about, "A call of `POST` looks the token up, records the request in the ledger, whose commit waits for the disk, and publishes `backup.requested`; "+
			"the embedded broker has synced it to the disk when the answer comes. A bare publish is the last of these alone, by the same gateway. Each request is of another project. "+
			"A round before the first is not counted: the first calls of a process open its connections to the ledger.")
	}
}

// medians returns the median of each round.
func medians(trials []trial) []float64 { return pick(trials, wallOf) }

// reportDownloads compares the two servers of one file.
func (p *apiPart) reportDownloads(r *result, peer *fileServer) {
	ours, theirs := r.Series[linkName], r.Series[peer.name]
	t := table{head: []string{"one download over loopback", "MB/s", "processor of the server, s"}}
	for _, name := range []string{peer.name, linkName} {
		if trials := r.Series[name]; len(trials) > 0 {
			t.add(name, over(pick(trials, func(t trial) float64 { return float64(p.bytes) / 1e6 / t.Wall })).text(0), over(pick(trials, cpuOf)).text(2))
		}
	}
	if len(t.rows) == 0 {
		return
	}
	r.tables = append(r.tables, t)
	r.about = append(r.about, "The two servers give the same file in turns, from memory, to a client that reads 256 KiB at a time and keeps nothing. "+
		"Ours checks every byte on its way against the checksum of the export; nginx sends the file unseen (`sendfile on`).")
	if peer.note != "" {
		r.notes = append(r.notes, peer.note)
	}
	r.Figures = append(r.Figures, figure{
		Name: "download_to_nginx", Text: "download from a folder, rate to that of " + peer.name,
		Value: ratio(pick(theirs, wallOf), pick(ours, wallOf)), Kind: atLeast, Limit: 0.8,
	})
}

// stored returns the file's path below the storage, as in a URL.
func (p *apiPart) stored() string {
	rel, err := filepath.Rel(p.w.storage, p.file)
	if err != nil {
		return ""
	}
	return filepath.ToSlash(rel)
}
