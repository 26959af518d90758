package telegramtest_test

import (
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pgcourier/pgcourier/internal/dev/telegramtest"
)

func TestServerSaysThatItIsATest(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	r := b.call(t, b.token, "getMe", "")
	if r.status != 200 || !strings.Contains(r.Result.Name, "TEST SERVER") || !strings.Contains(r.header.Get("Server"), "not Telegram") {
		t.Errorf("got %+v", r)
	}
	b.expect(t, b.call(t, "1:nobody", "getMe", ""), 401, "Unauthorized")
	b.expect(t, b.call(t, b.token, "getNothing", ""), 404, "Not Found")
	b.expect(t, b.call(t, b.token, "getChat", `{"chat_id":77}`), 400, "chat not found")
}

func TestUploadsAreCapped(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := setup(t, telegramtest.Dir(dir))
	tooLarge := make([]byte, telegramtest.MaxUpload)
	req := b.form(t, channel, "a", tooLarge)
	req.Header.Set("Expect", "100-continue") // and so the refusal comes before the body
	if r := b.do(t, req); r.status != 413 || !strings.Contains(r.body, "<html>") {
		t.Errorf("got %d %q", r.status, r.body)
	}
	req = b.form(t, channel, "a", tooLarge)
	req.Body, req.ContentLength, req.GetBody = io.NopCloser(io.MultiReader(req.Body)), -1, nil
	req.Header.Set("Expect", "100-continue")
	if resp, err := b.http.Do(req); err == nil { // else the connection broke, which is as good
		if resp.StatusCode != http.StatusRequestEntityTooLarge {
			t.Errorf("in chunks: got %d", resp.StatusCode)
		}
		_ = resp.Body.Close()
	}
	if s := b.Stats(); s.Chunked != 1 {
		t.Errorf("saw %d uploads in chunks, want 1", s.Chunked)
	}
	if n := len(b.Messages(channel)); n != 0 {
		t.Errorf("%d messages are there", n)
	}
	b.expect(t, b.do(t, b.form(t, channel, "a", nil)), 400, "non-empty")
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("%d refused files are left: %v", len(left), err)
	}
}

func TestLongNamesAreCut(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	r := b.do(t, b.form(t, channel, strings.Repeat("n", 70)+"."+strings.Repeat("e", 30), []byte("x")))
	if want := strings.Repeat("n", 60) + "." + strings.Repeat("e", 15); r.Result.Document.Name != want {
		t.Errorf("got %q, want %q", r.Result.Document.Name, want)
	}
}

func TestPaceIsEnforced(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	send := func(chat int64) result { t.Helper(); return b.do(t, b.form(t, chat, "a", []byte("x"))) }
	if r := send(private); r.status != 200 {
		t.Fatal(r.body)
	}
	if r := send(private); r.status != 429 || r.Parameters.RetryAfter != 1 {
		t.Errorf("two at once: %s", r.body)
	}
	for range 25 {
		b.clock.Advance(time.Second)
		if r := send(private); r.status != 200 {
			t.Fatalf("one a second to a private chat: %s", r.body)
		}
	}
	for range 20 {
		b.clock.Advance(time.Second)
		if r := send(channel); r.status != 200 {
			t.Fatal(r.body)
		}
	}
	b.clock.Advance(time.Second)
	if r := send(channel); r.status != 429 || r.Parameters.RetryAfter != 40 {
		t.Errorf("the 21st in a minute: %s", r.body)
	}
	b.clock.Advance(39 * time.Second)
	if r := send(channel); r.status != 429 || r.Parameters.RetryAfter != 1 {
		t.Errorf("too early: %s", r.body)
	}
	if s := b.Stats(); s.Flooded != 3 || s.Impatient != 1 {
		t.Errorf("flooded %d, impatient %d; want 3 and 1", s.Flooded, s.Impatient)
	}
	b.clock.Advance(time.Second)
	if r := send(channel); r.status != 200 {
		t.Error(r.body)
	}
}

func TestFileIDsAndPathsAreOneBotsAndShortLived(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	other := b.AddBot("two")
	b.join(other)
	id := b.do(t, b.form(t, channel, "a", []byte("hello"))).Result.Document.FileID
	path := b.call(t, b.token, "getFile", `{"file_id":"`+id+`"}`).Result.Path
	if r := b.get(t, b.token, path); r.body != "hello" {
		t.Errorf("got %d %q", r.status, r.body)
	}
	b.expect(t, b.get(t, other, path), 404, "Not Found")
	b.expect(t, b.get(t, "1:nobody", path), 401, "Unauthorized")
	b.expect(t, b.call(t, other, "getFile", `{"file_id":"`+id+`"}`), 400, "wrong file_id")
	b.expect(t, b.call(t, other, "sendDocument", `{"chat_id":-100200300,"document":"`+id+`"}`), 400, "wrong file identifier")
	b.clock.Advance(telegramtest.PathLifetime + time.Second)
	b.expect(t, b.get(t, b.token, path), 404, "Not Found")
	if r := b.call(t, b.token, "sendDocument", `{"chat_id":-100200300,"document":"`+id+`"}`); r.Result.Document.FileID != id {
		t.Errorf("the bot's own file id: %s", r.body)
	}
	b.clock.Advance(time.Second)
	forwarded := b.call(t, other, "forwardMessage", `{"chat_id":-100200300,"from_chat_id":-100200300,"message_id":1}`)
	path = b.call(t, other, "getFile", `{"file_id":"`+forwarded.Result.Document.FileID+`"}`).Result.Path
	if r := b.get(t, other, path); r.body != "hello" {
		t.Errorf("forwarded: got %d %q", r.status, r.body)
	}
	// The file lives as long as a message shows it.
	for _, m := range []int64{1, 2} {
		b.expect(t, b.call(t, b.token, "deleteMessage", `{"chat_id":-100200300,"message_id":`+strconv.FormatInt(m, 10)+`}`), 200, "")
	}
	if r := b.get(t, other, path); r.body != "hello" {
		t.Errorf("still shown: got %d %q", r.status, r.body)
	}
	b.Remove(channel, forwarded.Result.ID)
	b.expect(t, b.get(t, other, path), 404, "Not Found")
}

func TestDeletionAndEditing(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	other := b.AddBot("two")
	b.SetMember(channel, other, telegramtest.Member{Status: "administrator", CanPost: true})
	b.do(t, b.form(t, channel, "a", []byte("hello")))
	const one = `{"chat_id":-100200300,"message_id":1}`
	b.expect(t, b.call(t, other, "deleteMessage", one), 400, "can't be deleted")
	b.expect(t, b.call(t, other, "pinChatMessage", one), 400, "not enough rights")
	b.expect(t, b.call(t, other, "editMessageMedia", `{"chat_id":-100200300,"message_id":1,"media":"{\"type\":\"document\",\"media\":\"x\"}"}`), 400, "can't be edited")
	b.expect(t, b.call(t, b.token, "deleteMessage", `{"chat_id":-100200300,"message_id":9}`), 400, "message to delete not found")
	b.clock.Advance(telegramtest.DeletionWindow)
	b.expect(t, b.call(t, b.token, "deleteMessage", one), 400, "can't be deleted for everyone")
	b.AddChat(telegramtest.Chat{ID: channel, Type: "channel", Protected: true})
	b.expect(t, b.call(t, b.token, "forwardMessage", `{"chat_id":-100200300,"from_chat_id":-100200300,"message_id":1}`), 400, "protected content")
}

func TestHashOnlyKeepsNoContents(t *testing.T) {
	t.Parallel()
	b := setup(t, telegramtest.HashOnly{})
	r := b.do(t, b.form(t, channel, "a", []byte("hello")))
	if m := b.Messages(channel); len(m) != 1 || m[0].Size != 5 || m[0].SHA256[0] != 0x2c {
		t.Errorf("got %+v", m)
	}
	path := b.call(t, b.token, "getFile", `{"file_id":"`+r.Result.Document.FileID+`"}`).Result.Path
	b.expect(t, b.get(t, b.token, path), 404, "Not Found")
}

func TestAResetBreaksTheConnection(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := setup(t, telegramtest.Dir(dir))
	b.Inject(telegramtest.Fault{Kind: telegramtest.Reset, After: 100 << 10})
	resp, err := b.http.Do(b.form(t, channel, "a", make([]byte, 8<<20)))
	if err == nil { // the error depends on which side noticed first
		t.Errorf("got an answer, %d", resp.StatusCode)
		_ = resp.Body.Close()
	}
	if n := len(b.Messages(channel)); n != 0 {
		t.Errorf("%d messages are there", n)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("%d broken files are left: %v", len(left), err)
	}
}
