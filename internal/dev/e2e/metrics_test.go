package e2e_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/notify"
)

// scrape is a worker's metrics: values by series, as text.
func scrape(t *testing.T, addr string) map[string]float64 {
	t.Helper()
	status, body := get(t, "http://"+addr+"/metrics")
	if status != http.StatusOK {
		t.Fatalf("/metrics: %d %s", status, body)
	}
	series := map[string]float64{}
	for scan := bufio.NewScanner(strings.NewReader(body)); scan.Scan(); {
		line := scan.Text()
		if strings.HasPrefix(line, "#") {
			continue
		}
		i := strings.LastIndexByte(line, ' ')
		v, err := strconv.ParseFloat(line[i+1:], 64)
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		series[line[:i]] = v
	}
	return series
}

func get(t *testing.T, url string) (status int, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

// everything is a process with all roles, two destinations and a channel, which has completed an
// export and failed one. It returns the address of its metrics.
func everything(t *testing.T) (p *post, addr string) {
	t.Helper()
	p = setupPost(t)
	c := newChat(t)
	role := "verifier_of_" + p.database
	if err := executeIn(t.Context(), "postgres", "CREATE ROLE "+role+" LOGIN CREATEDB BYPASSRLS PASSWORD 'v'"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := executeIn(p.ctx, "postgres", "DROP ROLE "+role); err != nil {
			t.Error(err)
		}
	})
	server := url.URL{Scheme: "postgres", User: url.UserPassword(role, "v"), Host: fmt.Sprintf("127.0.0.1:%d", cluster.Port), Path: "/postgres"}
	addr = freeAddress(t)
	settings := append(p.settings, c.storage(p.platform, "")...)
	w := p.start(append(settings, p.environOf("DATABASE_URL"), "ROLES=intake,worker,sweeper,notifier,verifier,pruner",
		"VERIFY_SCRATCH_URL="+server.String(), "HTTP_ADDR="+addr, "METRICS_PER_PROJECT=true")...)
	p.completed("globex", p.request(events.Requested{ProjectID: "globex", NotifyEmail: "owner@example.com"}))
	p.failed("nobody", p.request(events.Requested{ProjectID: "nobody"}), codes.ProjectNotFound, 1)
	p.awaitRecords(notify.Sent, 2)
	w.awaitLog("export verified")
	return p, addr
}

// environOf returns one of the platform's own settings.
func (p *platform) environOf(name string) string {
	for _, v := range p.environ() {
		if setting, ok := strings.CutPrefix(v, "PGCOURIER_"); ok && strings.HasPrefix(setting, name+"=") {
			return setting
		}
	}
	p.t.Fatalf("the platform sets no %s", name)
	return ""
}

func TestAWorkerReportsWhatItDid(t *testing.T) {
	t.Parallel()
	p, addr := everything(t)
	p.settled()
	got := scrape(t, addr)
	for series, want := range map[string]float64{
		`pgcourier_exports_total{code="",outcome="completed"}`:                                     1,
		`pgcourier_exports_total{code="project_not_found",outcome="failed"}`:                       1,
		`pgcourier_exports_total{code="worker_lost",outcome="failed"}`:                             0,
		`pgcourier_attempts_total{code="",result="completed"}`:                                     1,
		`pgcourier_attempts_total{code="project_not_found",result="failed"}`:                       1,
		`pgcourier_exports_running`:                                                                0,
		`pgcourier_export_duration_seconds_count{outcome="completed"}`:                             1,
		`pgcourier_export_size_bytes_count`:                                                        1,
		`pgcourier_deliveries_total{handler="export"}`:                                             2,
		`pgcourier_redeliveries_total{handler="export"}`:                                           0,
		`pgcourier_storage_failures_total{code="storage_full",destination="file",operation="put"}`: 0,
		`pgcourier_storage_put_duration_seconds_count{destination="telegram"}`:                     1,
		`pgcourier_notifications_total{channel="email",result="sent"}`:                             2,
		`pgcourier_verifications_total{code="",result="verified"}`:                                 1,
		`pgcourier_broker_connected`:                                                               1,
		`pgcourier_queue_waiting_requests{queue="requests"}`:                                       0,
		`pgcourier_queue_oldest_waiting_age_seconds{queue="intake"}`:                               0,
		`pgcourier_sample_up{source="ledger"}`:                                                     1,
		`pgcourier_sample_up{source="email"}`:                                                      1,
		`pgcourier_lease_losses_total`:                                                             0,
		`pgcourier_project_last_success_timestamp_seconds{project_id="globex"}`:                    got["pgcourier_last_success_timestamp_seconds"],
		`pgcourier_dump_read_bytes_total`:                                                          got["pgcourier_export_size_bytes_sum"],
		`pgcourier_storage_written_bytes_total{destination="file"}`:                                got["pgcourier_export_stored_bytes_sum"],
		`pgcourier_storage_written_bytes_total{destination="telegram"}`:                            got["pgcourier_export_stored_bytes_sum"],
	} {
		if v, ok := got[series]; !ok || v != want {
			t.Errorf("%s is %v (there: %t), want %v", series, v, ok, want)
		}
	}
	for _, positive := range []string{"pgcourier_last_success_timestamp_seconds", "pgcourier_dump_read_bytes_total", "pgcourier_export_stored_bytes_sum",
		`pgcourier_storage_requests_total{answer="2xx",destination="telegram"}`, "go_goroutines", "process_resident_memory_bytes"} {
		if got[positive] <= 0 {
			t.Errorf("%s is %v", positive, got[positive])
		}
	}
}

// Scrapes without a pause from many clients: all are answered, and the exports go on.
func TestScrapesDoNotDelayExports(t *testing.T) {
	t.Parallel()
	p, addr := setup(t), freeAddress(t)
	p.start("HTTP_ADDR=" + addr)
	eventually(t, "the worker answers", func() bool { return answers(addr) })
	var answered atomic.Int64
	stop := make(chan struct{})
	var clients sync.WaitGroup
	transport := &http.Transport{MaxIdleConnsPerHost: 16}
	defer transport.CloseIdleConnections()
	for range 16 {
		clients.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				req, _ := http.NewRequestWithContext(p.ctx, http.MethodGet, "http://"+addr+"/metrics", nil)
				res, err := transport.RoundTrip(req)
				if err != nil {
					t.Errorf("scrape: %v", err)
					return
				}
				_, _ = io.Copy(io.Discard, res.Body)
				_ = res.Body.Close()
				if res.StatusCode != http.StatusOK {
					t.Errorf("scrape: %s", res.Status)
					return
				}
				answered.Add(1)
			}
		})
	}
	for answered.Load() < 3000 && !t.Failed() {
		p.completed("globex", p.request(events.Requested{ProjectID: "globex"}))
	}
	close(stop)
	clients.Wait()
	t.Logf("%d scrapes beside %d exports", answered.Load(), p.outcomes)
}

func TestProfilesAreServedOnlyWhenAskedFor(t *testing.T) {
	t.Parallel()
	p := setup(t)
	for setting, want := range map[string]int{"PPROF=false": http.StatusNotFound, "PPROF=true": http.StatusOK} {
		addr := freeAddress(t)
		_, port, _ := strings.Cut(addr, ":")
		w := p.start(setting, "HTTP_ADDR=:"+port)
		eventually(t, "it answers", func() bool { return answers(addr) })
		for _, path := range []string{"/debug/pprof/", "/debug/pprof/cmdline", "/debug/pprof/heap"} {
			if status, _ := get(t, "http://"+addr+path); status != want {
				t.Errorf("%s: %s gives %d, want %d", setting, path, status, want)
			}
		}
		if status, _ := get(t, "http://"+addr+"/healthz"); status != http.StatusOK {
			t.Errorf("/healthz gives %d", status)
		}
		const beyond = "pprof is reachable from other machines: profiles show the content of memory"
		if want == http.StatusOK {
			w.awaitLog(beyond)
		} else if w.logs.has(beyond) {
			t.Errorf("%s: it warns", setting)
		}
	}
}
