package console

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

const (
	// liveBeat is the pause after which the session is checked again, and the browser gets a comment.
	liveBeat = 15 * time.Second
	// liveLook is the pause between two looks at the connection to the broker: no event tells that it is
	// lost, or back.
	liveLook = 3 * time.Second
	// livePause is the shortest pause between two writes.
	livePause = 500 * time.Millisecond
	// liveLife bounds one stream. The browser connects again.
	liveLife = time.Hour
	// liveWrite bounds one write.
	liveWrite = 10 * time.Second
)

// live sends Server-Sent Events: progress of running exports and restores, and changed when a page may have become
// old, also because the broker went or came back.
func (v *view) live() error {
	watch := v.Watch(v.r.URL.Query().Get("seen"))
	defer watch.Close()
	control := http.NewResponseController(v.w)
	v.w.Header().Set("Content-Type", "text/event-stream")
	v.w.Header().Set("X-Accel-Buffering", "no") // nginx would buffer events
	write := func(text string) bool {
		if control.SetWriteDeadline(time.Now().Add(liveWrite)) != nil {
			return false
		}
		if _, err := v.w.Write([]byte(text)); err != nil {
			return false
		}
		// A deadline that passes between two writes would end a stream of HTTP/2.
		return control.Flush() == nil && control.SetWriteDeadline(time.Time{}) == nil
	}
	if !write("retry: 3000\n\n") {
		return nil
	}
	end, checked, wrote, connected := time.Now().Add(liveLife), time.Now(), time.Now(), v.Connected()
	for time.Now().Before(end) {
		ctx, cancel := context.WithTimeout(v.r.Context(), liveLook)
		progress, changed, err := watch.Next(ctx)
		cancel()
		if time.Since(checked) >= liveBeat { // also while events come all the time
			if _, err := v.console.caller(v.r); err != nil {
				return nil
			}
			checked = time.Now()
		}
		if now := v.Connected(); now != connected {
			connected, changed = now, true
		}
		switch {
		case errors.Is(err, context.DeadlineExceeded) && !changed:
			if time.Since(wrote) < liveBeat {
				continue
			}
			if wrote = time.Now(); !write(": beat\n\n") {
				return nil
			}
			continue
		case err != nil && !errors.Is(err, context.DeadlineExceeded):
			return nil // the browser has gone, or the process ends
		}
		var text strings.Builder
		for _, p := range progress {
			of := map[string]any{"of": p.Project + "/" + p.Request, "percent": p.Percent}
			if p.Restore {
				of["of"], of["stage"] = restoreKey(p.Project, p.Request), stageWords(p.Stage)
			}
			b, err := json.Marshal(of)
			if err != nil {
				return nil
			}
			fmt.Fprintf(&text, "event: progress\ndata: %s\n\n", b)
		}
		if changed {
			text.WriteString("event: changed\ndata: {}\n\n")
		}
		if wrote = time.Now(); !write(text.String()) {
			return nil
		}
		pause := time.NewTimer(livePause)
		select {
		case <-v.r.Context().Done():
		case <-pause.C:
		}
		pause.Stop()
	}
	return nil
}
