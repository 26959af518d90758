package console

import (
	"fmt"
	"time"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/ledger"
)

// chart is a bar for each of the last 24 hours, for an SVG of chartWidth by chartHeight.
type chart struct {
	ID, Title, Summary string
	Most               string // the highest bar
	Bars               []bar
	Columns            []string // of the same as a table
	Rows               [][]string
}

// bar is a rectangle of a chart.
type bar struct {
	X, Y, Width, Height int
	Class, Title        string
}

const (
	chartHours  = 24
	chartStep   = 20 // from one hour to the next
	chartBar    = 16
	chartHeight = 80
)

// charts returns the charts of the overview.
func charts(hours []ledger.Hour) []chart {
	var counts [chartHours]map[export.State]int
	var longest [chartHours]time.Duration
	for i := range counts {
		counts[i] = map[export.State]int{}
	}
	for _, h := range hours {
		if h.Ago >= 0 && h.Ago < chartHours {
			counts[h.Ago][h.State] += h.Count
			longest[h.Ago] = max(longest[h.Ago], h.Longest)
		}
	}
	return []chart{countChart(counts), durationChart(longest)}
}

// parts are the parts of a bar of countChart from the bottom up.
var parts = []struct {
	name, class string
	states      []export.State
}{
	{"completed", "good", []export.State{export.Completed}},
	{"waiting or running", "busy", []export.State{export.Waiting, export.Running}},
	{"cancelled", "none", []export.State{ledger.Cancelled}},
	{"failed", "bad", []export.State{export.Failed}},
}

func countChart(hours [chartHours]map[export.State]int) chart {
	c := chart{ID: "asked", Title: "Exports asked for", Columns: []string{"Hour", "Completed", "Waiting or running", "Cancelled", "Failed"}}
	most, all := 0, 0
	for _, h := range hours {
		sum := 0
		for _, n := range h {
			sum += n
		}
		most, all = max(most, sum), all+sum
	}
	c.Most, c.Summary = count(most), fmt.Sprintf("%s in the last 24 hours, at most %s in one hour", count(all), count(most))
	for ago, h := range hours {
		x, y := (chartHours-1-ago)*chartStep, chartHeight
		line := []string{hourName(ago)}
		for _, p := range parts {
			n := 0
			for _, s := range p.states {
				n += h[s]
			}
			line = append(line, count(n))
			if n == 0 {
				continue
			}
			height := max(2, n*chartHeight/most)
			if height > y {
				height = y
			}
			y -= height
			c.Bars = append(c.Bars, bar{x, y, chartBar, height, p.class, fmt.Sprintf("%s: %s %s", hourName(ago), count(n), p.name)})
		}
		c.Rows = append(c.Rows, line)
	}
	return c
}

func durationChart(hours [chartHours]time.Duration) chart {
	c := chart{ID: "longest", Title: "Longest export", Columns: []string{"Hour", "Longest"}}
	var most time.Duration
	for _, d := range hours {
		most = max(most, d)
	}
	c.Most, c.Summary = took(most), "the longest of the last 24 hours took "+took(most)
	if most == 0 {
		c.Summary = "none has ended in the last 24 hours"
	}
	for ago, d := range hours {
		c.Rows = append(c.Rows, []string{hourName(ago), took(d)})
		if d == 0 {
			continue
		}
		height := max(2, int(float64(d)/float64(most)*chartHeight))
		c.Bars = append(c.Bars, bar{(chartHours - 1 - ago) * chartStep, chartHeight - height, chartBar, height, "plain", hourName(ago) + ": " + took(d)})
	}
	return c
}

// hourName names an hour by its distance.
func hourName(ago int) string {
	if ago == 0 {
		return "the last hour"
	}
	return fmt.Sprintf("%d to %d hours ago", ago, ago+1)
}
