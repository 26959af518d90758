package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A few variants of each part at the smallest scale: everything that is measured must work,
// whatever the figures are.
func TestBench(t *testing.T) {
	dir := t.TempDir()
	doc, figures := filepath.Join(dir, "benchmarks.md"), filepath.Join(dir, "bench.json")
	if err := os.WriteFile(doc, []byte("# Benchmarks\n\n## Stages\n\nby hand\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var progress bytes.Buffer
	err := run(t.Context(), []string{
		"-part", "wall,tenants,events,api", "-size", "2MB", "-rounds", "1", "-tenants", "4", "-requests", "6", "-waiting", "12",
		"-only", "floor|sql gzip$|dump . gzip$|custom zstd|directory gzip|one after another|pgcourier, grouped|by itself$|2 at a time|concurrency 2|refusals|waiting|, 8 at a time$|nginx|http.FileServer|by a link|slow readers",
		"-doc", doc, "-out", figures,
	}, io.Discard, &progress)
	if err != nil {
		t.Fatalf("%v\n%s", err, progress.String())
	}
	b, err := os.ReadFile(figures)
	if err != nil {
		t.Fatal(err)
	}
	var got figuresFile
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"wall.gzip_to_floor", "wall.pg_dump_gzip_to_ours", "tenants.loop_to_grouped", "tenants.idle_growth", "events.rate_grouped_2", "events.refused", "events.memory_waiting", "api.post_p99_8", "api.post_to_publish_8", "api.download_to_nginx", "api.memory_of_a_download"} {
		if f := got.Ratios[name]; f.Value.Rounds == 0 || f.Value.Median <= 0 {
			t.Errorf("%s is %+v", name, f)
		}
	}
	if f := got.Ratios["wall.node_to_ours"]; f.Verdict != "not measured" {
		t.Errorf("the omitted part is %+v", f)
	}
	// Of four tenants: in one group, in one beside idle ones, and one by itself.
	if equal, different, foreign := got.Ratios["tenants.equal"], got.Ratios["tenants.different"], got.Ratios["tenants.foreign"]; equal.Value.Median != 9 || different.Value.Median != 0 || foreign.Value.Median != 0 {
		t.Errorf("equal %v, different %v, foreign %v", equal.Value, different.Value, foreign.Value)
	}
	page, err := os.ReadFile(doc)
	if err != nil {
		t.Fatal(err)
	}
	for _, words := range []string{"## Stages\n\nby hand\n", "## Many tenants", "| pgcourier custom zstd |", "**met**"} {
		if !strings.Contains(string(page), words) {
			t.Errorf("the page lacks %q:\n%s", words, page)
		}
	}
	if rows := got.Parts["wall"].Series[oursGzip]; len(rows) != 1 || rows[0].CPU <= 0 || rows[0].Memory < 10<<20 || rows[0].Output == 0 || rows[0].Spooled != 0 {
		t.Errorf("the worker's samples: %+v", rows)
	}
}

func TestSectionsAreKept(t *testing.T) {
	t.Parallel()
	page := withSection("# Benchmarks\n\nby hand\n", "wall", "one\n")
	page = withSection(page, "events", "two\n")
	page = withSection(page, "wall", "three\n")
	const want = "# Benchmarks\n\nby hand\n\n<!-- bench wall -->\nthree\n<!-- /bench wall -->\n\n<!-- bench events -->\ntwo\n<!-- /bench events -->\n"
	if page != want {
		t.Errorf("got\n%s\nwant\n%s", page, want)
	}
}

func TestFiguresOfOtherPartsAreKept(t *testing.T) {
	t.Parallel()
	f := files{figures: filepath.Join(t.TempDir(), "new", "bench.json")}
	for _, r := range []result{
		{Part: "wall", Figures: []figure{{Name: "a", Value: over([]float64{1})}}},
		{Part: "events", Figures: []figure{{Name: "b", Value: over([]float64{2})}}},
		{Part: "wall", Figures: []figure{{Name: "c", Value: over([]float64{3})}}},
	} {
		if err := f.keepFigures(r); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(f.figures)
	if err != nil {
		t.Fatal(err)
	}
	var got figuresFile
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Ratios) != 2 || got.Ratios["events.b"].Value.Median != 2 || got.Ratios["wall.c"].Value.Median != 3 {
		t.Errorf("got %+v", got.Ratios)
	}
}

func TestFigures(t *testing.T) {
	t.Parallel()
	if s := over([]float64{5, 1, 2, 4, 3}); s != (stat{3, 1, 5, 5}) {
		t.Errorf("over: %+v", s)
	}
	if s := ratio([]float64{2, 9, 8}, []float64{1, 3, 2}); s.Median != 3 || s.Min != 2 || s.Max != 4 {
		t.Errorf("a ratio is computed within a round: %+v", s)
	}
	if q := quantile([]float64{0, 10}, 0.25); q != 2.5 {
		t.Errorf("quantile: %v", q)
	}
	for _, c := range []struct {
		kind  bound
		value float64
		want  string
	}{{atMost, 2, "met"}, {atMost, 2.1, "missed"}, {atLeast, 2, "met"}, {atLeast, 1.9, "missed"}, {below, 2, "missed"}, {below, 1.9, "met"}, {none, 9, ""}} {
		if f := (figure{Kind: c.kind, Limit: 2, Value: over([]float64{c.value})}).judged(); f.Verdict != c.want {
			t.Errorf("%s 2, measured %v: %q, want %q", c.kind, c.value, f.Verdict, c.want)
		}
	}
	if f := (figure{Kind: atMost, Limit: 2}).judged(); f.Verdict != "not measured" {
		t.Errorf("without a value: %q", f.Verdict)
	}
}

func TestDumpsAreCompared(t *testing.T) {
	t.Parallel()
	one := []byte("\\restrict abc\nCREATE TABLE tenant_00001.x (a int);\n\\unrestrict abc\n")
	two := []byte("\\restrict xyz\nCREATE TABLE tenant_00001.x (a int);\n\\unrestrict xyz\n")
	other := []byte("\\restrict xyz\nCREATE TABLE tenant_00002.x (a int);\n\\unrestrict xyz\n")
	if !sameDump(one, two) || sameDump(one, other) || sameDump(nil, nil) {
		t.Error("another comparison than the intended one")
	}
	if foreigners(one, tenantSchema(1)) != 0 || foreigners(other, tenantSchema(1)) != 1 {
		t.Error("a foreign name is not counted")
	}
}

// A line has its columns for each version, also for one on which the variant was not measured.
func TestTheTableOfKindsHasAllColumns(t *testing.T) {
	t.Parallel()
	floor, ours := trial{Wall: 2, CPU: 1, Dump: 1}, trial{Wall: 3, CPU: 2.5, Dump: 1, Output: 5_000_000, Service: 1}
	all := map[int]tried{
		15: {"hex": {nameFloor: {floor}, oursGzip: {ours}, peerGzip1: {{Wall: 9, Output: 10_000_000}}}},
		18: {"hex": {nameFloor: {floor}}},
	}
	got := kindsTable([]variant{{name: nameFloor}, {name: oursGzip}, {name: peerZstd1}}, all).markdown()
	if want := "| hex of 32 random bytes | pgcourier sql gzip | 5.0 | 0 + 0 | 3.00 | 1.50 | 1.50 + 1.00 | – | – | – | – | – | – |\n"; !strings.Contains(got, want) || strings.Contains(got, "zstd") {
		t.Errorf("got\n%s", got)
	}
	for _, f := range kindsFigures(all) {
		if want := map[string]float64{"hex_gzip_size": 0.5, "hex_gzip_to_floor": 1.5}[f.Name]; f.Value.Median != want {
			t.Errorf("%s is %v, want %v", f.Name, f.Value, want)
		}
	}
}

func TestFairnessIsRead(t *testing.T) {
	t.Parallel()
	const out = "goos: linux\nBenchmarkFairness/idle-2   10   1234 ns/op   2.5 ms/longest   1.5 ms/median   0.03 runs/longest\n" +
		"BenchmarkFairness/plain-order/flood=50-2 \t 10\t 5 ns/op\t 2600 ms/longest\t 2500 ms/median\nPASS\n"
	medians, longest := fairnessOf(out)
	if medians["idle"][0] != 1.5 || longest["idle"][0] != 2.5 || medians["plain-order/flood=50"][0] != 2500 {
		t.Errorf("got %v and %v", medians, longest)
	}
}

func TestPagesAreRead(t *testing.T) {
	t.Parallel()
	p50, p99 := pagesOf("goos: linux\nBenchmarkPageOfAHundredThousand-2 \t 2000\t 6012345 ns/op\t 5.5 p50-ms\t 11.25 p99-ms\nPASS\n")
	if len(p50) != 1 || len(p99) != 1 || p50[0] != 5.5 || p99[0] != 11.25 {
		t.Errorf("got %v and %v", p50, p99)
	}
}

func TestArguments(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"-part", "no-such-part"}, {"-rounds", "0"}, {"-size", "1KB"}, {"-size", "large"}, {"-only", "("}, {"surplus"}, {"-serve", "nothing"}, {"-no-such-flag"}} {
		if err := run(context.Background(), args, io.Discard, io.Discard); err == nil {
			t.Errorf("%q was accepted", args)
		}
	}
	var out bytes.Buffer
	if err := run(t.Context(), []string{"-list"}, &out, io.Discard); err != nil || strings.Count(out.String(), "\n") != len(parts()) {
		t.Errorf("the list is %q, %v", out.String(), err)
	}
}

// TestMain makes this binary its own test servers, as the driver does.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "-serve" {
		os.Exit(mainCode())
	}
	os.Exit(m.Run())
}
