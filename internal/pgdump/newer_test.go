package pgdump_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/pgdump"
	"github.com/pgcourier/pgcourier/internal/pgversion"
)

// A server that is newer than any known one needs a pg_dump as new, and is queried like the newest
// known version. It reports by itself what it lacks.
func TestAServerNewerThanAnyKnownCountsAsTheNewest(t *testing.T) {
	t.Parallel()
	j := job(newer(t, database(t, cluster, simple)), export.SQL, "s")
	_, err := dumper(t, pgdump.Config{BinDirs: []string{cluster.BinDir}}).Inspect(t.Context(), j)
	contains(t, "message", fault(t, err, codes.VersionMismatch).Message, "the source runs PostgreSQL 99.")

	info, err := dumper(t, pgdump.Config{BinDirs: fake(t, "exit 1")}).Inspect(t.Context(), j)
	if !pgversion.Has(cluster.Major, pgversion.TransactionTimeout) {
		if err == nil || !strings.Contains(err.Error(), "transaction_timeout") {
			t.Errorf("error = %v, want the server's own on transaction_timeout", err)
		}
		return
	}
	if err != nil || !strings.HasPrefix(info.ServerVersion, "99.") {
		t.Errorf("%+v, %v; want a server 99", info, err)
	}
}

// newer returns the DSN of a proxy before a server that changes the server's reported major version
// to 99.
func newer(t *testing.T, dsn string) string {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	server := u.Host
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return // closed
			}
			go pretendNewer(client, server)
		}
	}()
	u.Host = l.Addr().String()
	return u.String()
}

// pretendNewer copies between the two until one of them ends. From the server's side each message
// is a byte for its kind, a length that includes itself, and a body.
func pretendNewer(client net.Conn, address string) {
	defer func() { _ = client.Close() }()
	server, err := net.Dial("tcp", address)
	if err != nil {
		return
	}
	go func() {
		_, _ = io.Copy(server, client)
		_ = server.Close()
	}()
	for header := make([]byte, 5); ; {
		if _, err := io.ReadFull(server, header); err != nil {
			return
		}
		body := make([]byte, binary.BigEndian.Uint32(header[1:])-4)
		if _, err := io.ReadFull(server, body); err != nil {
			return
		}
		const name = "server_version\x00"
		if header[0] == 'S' && bytes.HasPrefix(body, []byte(name)) {
			body = append([]byte(name+"99"), body[len(name)+len(strconv.Itoa(cluster.Major)):]...)
			binary.BigEndian.PutUint32(header[1:], uint32(len(body)+4))
		}
		if _, err := client.Write(slices.Concat(header, body)); err != nil {
			return
		}
	}
}
