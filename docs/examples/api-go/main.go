// The command api-go is a client of the HTTP API in Go. Its client code is generated from the API's
// own OpenAPI document:
//
//	curl -fsS $API/v1/openapi.json -o openapi.json
//	go tool oapi-codegen -config oapi-codegen.yaml openapi.json
//	API=https://backups.example.org TOKEN=pgc_... go run . PROJECT FILE
//
// It asks for an export, waits for it, makes a download link and fetches the file. The token needs
// the scopes export, read and download. It prints one JSON object.
package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

// pollEvery is the time between two looks at a running export.
const pollEvery = 250 * time.Millisecond

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: api-go PROJECT FILE")
		os.Exit(2)
	}
	r, err := run(context.Background(), os.Getenv("API"), os.Getenv("TOKEN"), os.Args[1], os.Args[2])
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(r)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// result is what the program prints.
type result struct {
	Subject   string   `json:"subject"`
	RequestID string   `json:"request_id"`
	State     string   `json:"state"`
	Listed    []string `json:"listed"`
	Link      string   `json:"link"`
	Bytes     int64    `json:"bytes"`
	Problem   string   `json:"problem"`
}

func run(ctx context.Context, api, token, project, file string) (r result, err error) {
	bearer := func(_ context.Context, req *http.Request) error {
		req.Header.Set("Authorization", "Bearer "+token)
		return nil
	}
	client, err := NewClientWithResponses(api, WithRequestEditorFn(bearer))
	if err != nil {
		return r, err
	}

	who, err := client.WhoamiWithResponse(ctx)
	if err != nil {
		return r, err
	}
	if who.JSON200 == nil {
		return r, asError(who.ApplicationproblemJSONDefault)
	}
	r.Subject = who.JSON200.Subject

	// The id is our own, so that asking again after a timeout is safe.
	r.RequestID = "go-" + rand.Text()
	compression := ExportRequestCompression("zstd")
	asked, err := client.CreateExportWithResponse(ctx, project, &CreateExportParams{IdempotencyKey: &r.RequestID},
		ExportRequest{Compression: &compression, Metadata: &ExportRequestMetadata{"ticket": "OPS-42"}})
	if err != nil {
		return r, err
	}
	if asked.JSON202 == nil {
		return r, asError(asked.ApplicationproblemJSONDefault)
	}

	done, err := await(ctx, client, project, r.RequestID)
	if err != nil {
		return r, err
	}
	r.State = string(done.State)

	for cursor := (*string)(nil); ; {
		limit := int64(1) // small, so that there is more than one page
		page, err := client.ListExportsWithResponse(ctx, project, &ListExportsParams{Limit: &limit, Cursor: cursor})
		if err != nil {
			return r, err
		}
		if page.JSON200 == nil {
			return r, asError(page.ApplicationproblemJSONDefault)
		}
		for _, e := range page.JSON200.Exports {
			r.Listed = append(r.Listed, e.RequestId)
		}
		if cursor = page.JSON200.NextCursor; cursor == nil {
			break
		}
	}

	ttl, downloads := "1h", int64(1)
	link, err := client.CreateLinkWithResponse(ctx, project, r.RequestID, CreateLinkInputBody{Ttl: &ttl, MaxDownloads: &downloads})
	if err != nil {
		return r, err
	}
	if link.JSON201 == nil || link.JSON201.Url == nil {
		return r, asError(link.ApplicationproblemJSONDefault)
	}
	r.Link = *link.JSON201.Url

	if r.Bytes, err = fetch(ctx, client, project, done, file); err != nil {
		return r, err
	}

	unknown, err := client.GetExportWithResponse(ctx, project, "no-such-export")
	if err != nil {
		return r, err
	}
	p := unknown.ApplicationproblemJSONDefault
	if p == nil || p.Code != NotFound { // the code is a type of its own, with a constant for each word
		return r, fmt.Errorf("an unknown export is answered with %d", unknown.StatusCode())
	}
	r.Problem = string(p.Code)
	return r, nil
}

// await looks at an export until it has an outcome, which must be completed.
func await(ctx context.Context, client *ClientWithResponses, project, id string) (*Export, error) {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		got, err := client.GetExportWithResponse(ctx, project, id)
		switch {
		case err != nil:
			return nil, err
		case got.JSON200 == nil:
			return nil, asError(got.ApplicationproblemJSONDefault)
		case got.JSON200.State == ExportStateCompleted:
			return got.JSON200, nil
		case got.JSON200.State == ExportStateFailed || got.JSON200.State == ExportStateCancelled:
			return nil, fmt.Errorf("the export is %s", got.JSON200.State)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-tick.C:
		}
	}
}

// fetch writes the file of an export and compares it with the outcome.
func fetch(ctx context.Context, client *ClientWithResponses, project string, done *Export, file string) (int64, error) {
	outcome, err := done.Outcome.AsBackupCompleted()
	if err != nil {
		return 0, err
	}
	// The response is not read into memory: the method without "WithResponse" hands it on.
	res, err := client.GetFile(ctx, project, done.RequestId)
	if err != nil {
		return 0, err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("the file is answered with %s", res.Status)
	}
	out, err := os.Create(file)
	if err != nil {
		return 0, err
	}
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(out, sum), res.Body)
	if err = errors.Join(err, out.Close()); err != nil {
		return n, err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != outcome.Sha256 {
		return n, fmt.Errorf("the file's SHA-256 is %s, the outcome says %s", got, outcome.Sha256)
	}
	return n, nil
}

// asError makes an error of a problem.
func asError(p *Problem) error {
	if p == nil {
		return errors.New("the answer is none of the document")
	}
	return fmt.Errorf("%d %s: %s", p.Status, p.Code, p.Detail)
}
