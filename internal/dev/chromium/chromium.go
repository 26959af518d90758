// Package chromium drives Debian's chromium for tests, over the DevTools protocol on two pipes.
package chromium

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"
)

// wait is the limit of a step in the browser, so that a page that hangs ends its test. No test measures it: a
// machine without a free core needs far less.
const wait = 5 * time.Minute

// Browser is one chromium process without a window.
type Browser struct {
	t  testing.TB
	to io.WriteCloser

	mu     sync.Mutex
	last   int
	waits  map[int]chan answer
	events map[string]chan json.RawMessage // by session and method
	err    error
}

type answer struct {
	Result json.RawMessage `json:"result"`
	Error  *struct {
		Message string `json:"message"`
	} `json:"error"`
}

// Find returns the path of chromium, or of its build that cannot open a window; "": there is neither.
func Find() string {
	for _, name := range []string{"chromium", "chromium-headless-shell"} {
		if program, err := exec.LookPath(name); err == nil {
			return program
		}
	}
	return ""
}

// Start starts chromium with a profile of its own. The end of the test stops it.
func Start(t testing.TB) *Browser {
	t.Helper()
	program := Find()
	if program == "" {
		t.Fatal("chromium is missing: run `make chromium`")
	}
	toRead, toWrite, err := os.Pipe()
	must(t, err)
	fromRead, fromWrite, err := os.Pipe()
	must(t, err)
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	// The tests run as root in containers, where chromium's own sandbox cannot start. Chromium loads only the pages of the tests.
	cmd := exec.CommandContext(ctx, program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars", //nolint:gosec // Debian's program
		"--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
		"--allow-pre-commit-input", // else a key that is pressed before the first frame of a page is dropped
		"--font-render-hinting=none", "--lang=en-US", "--remote-debugging-pipe", "--user-data-dir="+t.TempDir(), "about:blank")
	cmd.ExtraFiles = []*os.File{toRead, fromWrite}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 10 * time.Second // for a child that holds its error output
	var log bytes.Buffer
	cmd.Stderr = &log
	must(t, cmd.Start())
	_, _ = toRead.Close(), fromWrite.Close() // the process has them
	b := &Browser{t: t, to: toWrite, waits: map[int]chan answer{}, events: map[string]chan json.RawMessage{}}
	read := make(chan struct{})
	go func() {
		defer close(read)
		b.read(fromRead)
	}()
	t.Cleanup(func() {
		_, _ = b.call("", "Browser.close", nil) // it may have ended
		_ = toWrite.Close()
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_ = cmd.Wait()
		}()
		select {
		case <-ended:
		case <-time.After(wait):
			stop()
			<-ended
		}
		stop()
		_ = fromRead.Close()
		<-read
		if t.Failed() {
			t.Logf("chromium: %.2000s", log.String())
		}
	})
	return b
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// read handles the messages of chromium, each of which ends with a zero byte.
func (b *Browser) read(from io.Reader) {
	in := bufio.NewReaderSize(from, 1<<20)
	for {
		text, err := in.ReadBytes(0)
		b.mu.Lock()
		if err != nil {
			b.err = fmt.Errorf("chromium ended: %w", err)
			for id, w := range b.waits {
				close(w)
				delete(b.waits, id)
			}
			b.mu.Unlock()
			return
		}
		var m struct {
			ID        int             `json:"id"`
			Method    string          `json:"method"`
			SessionID string          `json:"sessionId"`
			Params    json.RawMessage `json:"params"`
			answer
		}
		if json.Unmarshal(bytes.TrimSuffix(text, []byte{0}), &m) == nil {
			if w := b.waits[m.ID]; w != nil {
				w <- m.answer
				delete(b.waits, m.ID)
			}
			if w := b.events[m.SessionID+" "+m.Method]; w != nil {
				select {
				case w <- m.Params:
				default:
				}
			}
		}
		b.mu.Unlock()
	}
}

// call makes one call of the protocol.
func (b *Browser) call(session, method string, params any) (json.RawMessage, error) {
	return b.callWithin(wait, session, method, params)
}

func (b *Browser) callWithin(wait time.Duration, session, method string, params any) (json.RawMessage, error) {
	b.mu.Lock()
	if b.err != nil {
		b.mu.Unlock()
		return nil, b.err
	}
	b.last++
	id, w := b.last, make(chan answer, 1)
	b.waits[id] = w
	message := map[string]any{"id": id, "method": method}
	if params != nil {
		message["params"] = params
	}
	if session != "" {
		message["sessionId"] = session
	}
	text, err := json.Marshal(message)
	if err == nil {
		_, err = b.to.Write(append(text, 0))
	}
	b.mu.Unlock()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", method, err)
	}
	limit := time.NewTimer(wait)
	defer limit.Stop()
	select {
	case got, open := <-w:
		switch {
		case !open:
			return nil, fmt.Errorf("%s: chromium ended", method)
		case got.Error != nil:
			return nil, fmt.Errorf("%s: %s", method, got.Error.Message)
		}
		return got.Result, nil
	case <-limit.C:
		return nil, fmt.Errorf("%s: %w", method, context.DeadlineExceeded)
	}
}

// Page is a tab with cookies of its own.
type Page struct {
	b       *Browser
	session string
	loaded  chan json.RawMessage
	stages  chan json.RawMessage // of the loading of each document
	faults  chan json.RawMessage
}

const (
	// maxFaults bounds the faults of a page that are kept.
	maxFaults = 100
	// maxStages bounds the stages that are kept between two calls of Go. A document has about ten.
	maxStages = 10_000
)

// View is how a page is seen.
type View struct {
	Width, Height int
	Dark          bool
}

// Open opens a tab in a context of its own, as another browser would be.
func (b *Browser) Open(v View) *Page {
	b.t.Helper()
	var context struct{ BrowserContextID string }
	b.get("", "Target.createBrowserContext", nil, &context)
	var target struct{ TargetID string }
	b.get("", "Target.createTarget", map[string]any{"url": "about:blank", "browserContextId": context.BrowserContextID}, &target)
	var attached struct{ SessionID string }
	b.get("", "Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &attached)
	p := &Page{b: b, session: attached.SessionID, loaded: make(chan json.RawMessage, 1), stages: make(chan json.RawMessage, maxStages), faults: make(chan json.RawMessage, maxFaults)}
	b.mu.Lock()
	b.events[p.session+" Page.loadEventFired"] = p.loaded
	b.events[p.session+" Page.lifecycleEvent"] = p.stages
	for _, method := range []string{"Runtime.exceptionThrown", "Audits.issueAdded"} {
		b.events[p.session+" "+method] = p.faults
	}
	b.mu.Unlock()
	for _, domain := range []string{"Page", "Runtime", "Audits"} {
		p.call(domain+".enable", nil)
	}
	p.call("Page.setLifecycleEventsEnabled", map[string]any{"enabled": true})
	p.call("Emulation.setFocusEmulationEnabled", map[string]any{"enabled": true}) // of several pages one has the focus
	p.See(v)
	return p
}

// T returns the test of the page's browser.
func (p *Page) T() testing.TB { return p.b.t }

// Locate sets the viewer's language and time zone.
func (p *Page) Locate(language, zone string) {
	p.b.t.Helper()
	p.call("Emulation.setLocaleOverride", map[string]any{"locale": language})
	p.call("Emulation.setTimezoneOverride", map[string]any{"timezoneId": zone})
}

// Press presses a key: Tab, Shift+Tab or Enter.
func (p *Page) Press(key string) {
	p.b.t.Helper()
	const shift = 8
	down := map[string]any{"type": "rawKeyDown", "key": "Tab", "code": "Tab", "windowsVirtualKeyCode": 9}
	switch key {
	case "Tab":
	case "Shift+Tab":
		down["modifiers"] = shift
	case "Enter":
		down = map[string]any{"type": "keyDown", "key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"}
	default:
		p.b.t.Fatalf("no such key: %s", key)
	}
	p.call("Input.dispatchKeyEvent", down)
	up := maps.Clone(down)
	delete(up, "text")
	up["type"] = "keyUp"
	p.call("Input.dispatchKeyEvent", up)
}

func (b *Browser) get(session, method string, params, into any) {
	b.t.Helper()
	got, err := b.call(session, method, params)
	must(b.t, err)
	if into != nil {
		must(b.t, json.Unmarshal(got, into))
	}
}

func (p *Page) call(method string, params any) {
	p.b.t.Helper()
	p.b.get(p.session, method, params, nil)
}

// See sets the size and the colour scheme.
func (p *Page) See(v View) {
	p.b.t.Helper()
	scheme := "light"
	if v.Dark {
		scheme = "dark"
	}
	p.call("Emulation.setDeviceMetricsOverride", map[string]any{"width": v.Width, "height": v.Height, "deviceScaleFactor": 1, "mobile": false})
	p.call("Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{{"name": "prefers-color-scheme", "value": scheme}}})
}

// Go opens an address and waits until that document is loaded. The end of loading another document,
// which was left for this one, does not count.
func (p *Page) Go(url string) {
	p.b.t.Helper()
	for len(p.stages) > 0 {
		<-p.stages
	}
	var document struct{ LoaderID, ErrorText string }
	p.b.get(p.session, "Page.navigate", map[string]any{"url": url}, &document)
	if document.ErrorText != "" {
		p.b.t.Fatalf("%s: %s", url, document.ErrorText)
	}
	limit := time.NewTimer(wait)
	defer limit.Stop()
	for {
		select {
		case got := <-p.stages:
			var stage struct{ LoaderID, Name string }
			must(p.b.t, json.Unmarshal(got, &stage))
			if stage.LoaderID == document.LoaderID && stage.Name == "load" {
				return
			}
		case <-limit.C:
			p.b.t.Fatalf("%s was not loaded", url)
		}
	}
}

// Do does something after which another page is loaded, and waits for it.
func (p *Page) Do(something func()) {
	p.b.t.Helper()
	select {
	case <-p.loaded:
	default:
	}
	something()
	limit := time.NewTimer(wait)
	defer limit.Stop()
	select {
	case <-p.loaded:
	case <-limit.C:
		p.b.t.Fatal("no page was loaded")
	}
}

// Run returns the value of an expression of JavaScript, which may be a promise.
func (p *Page) Run(expression string, into any) {
	p.b.t.Helper()
	must(p.b.t, p.Try(expression, into))
}

// Try is Run, and returns an exception of the expression.
func (p *Page) Try(expression string, into any) error { return p.tryWithin(wait, expression, into) }

// look bounds one look at a page: one during which another page is loaded is not answered.
const look = 5 * time.Second

func (p *Page) tryWithin(wait time.Duration, expression string, into any) error {
	got, err := p.b.callWithin(wait, p.session, "Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true, "awaitPromise": true})
	if err != nil {
		return err
	}
	var r struct {
		Result struct {
			Value json.RawMessage
		}
		ExceptionDetails *struct {
			Text      string
			Exception struct{ Description string }
		}
	}
	if err := json.Unmarshal(got, &r); err != nil {
		return err
	}
	if e := r.ExceptionDetails; e != nil {
		return errors.New(e.Text + " " + e.Exception.Description)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(r.Result.Value, into)
}

// Faults returns the exceptions of scripts, and what the browser's own audit found: violations of the
// policy, cookies that were refused.
func (p *Page) Faults() (all []string) {
	for {
		select {
		case f := <-p.faults:
			// A page that sends to another without a touch of the user is one of its issues, and is ours.
			if !bytes.Contains(f, []byte(`"NavigationEntryMarkedSkippable"`)) {
				all = append(all, string(f))
			}
		default:
			return all
		}
	}
}

// Await waits until an expression is true. It calls each of nudge before each look.
func (p *Page) Await(what, expression string, nudge ...func()) {
	p.b.t.Helper()
	end := time.Now().Add(wait)
	for {
		for _, f := range nudge {
			f()
		}
		var ok bool
		// The expression fails while another page is loaded.
		if err := p.tryWithin(look, "Boolean("+expression+")", &ok); err == nil && ok {
			return
		}
		if time.Now().After(end) {
			var shown string
			_ = p.Try("location.href + ' ' + document.body.innerText", &shown)
			p.b.t.Fatalf("waited in vain: %s: %.1000s", what, shown)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Picture returns the whole page as a PNG.
func (p *Page) Picture() []byte {
	p.b.t.Helper()
	var shot struct{ Data []byte }
	p.b.get(p.session, "Page.captureScreenshot", map[string]any{"format": "png", "captureBeyondViewport": true}, &shot)
	return shot.Data
}
