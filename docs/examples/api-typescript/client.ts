// A client of the HTTP API in TypeScript. Its types are generated from the API's own OpenAPI
// document:
//
//   npm ci && curl -fsS $API/v1/openapi.json -o openapi.json && npm run generate && npm run build
//   API=https://backups.example.org TOKEN=pgc_... node build/client.js PROJECT FILE
//
// It asks for an export, waits for it, makes a download link and fetches the file. The token needs
// the scopes export, read and download. It prints one JSON object.
import { createHash, randomUUID } from "node:crypto";
import { createReadStream, createWriteStream } from "node:fs";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { setTimeout } from "node:timers/promises";
import createClient from "openapi-fetch";
import type { components, paths } from "./api.js";

type Export = components["schemas"]["Export"];
type Problem = components["schemas"]["Problem"];
type Code = Problem["code"]; // a union of the known words

const [project, file] = process.argv.slice(2);
if (!project || !file) {
  console.error("usage: node build/client.js PROJECT FILE");
  process.exit(2);
}
const pollEvery = 250; // milliseconds
const client = createClient<paths>({
  baseUrl: process.env["API"] ?? "http://127.0.0.1:8080", headers: { Authorization: `Bearer ${process.env["TOKEN"]}` },
});

// unwrap returns the data of an answer, or throws what the problem says.
function unwrap<T>(answer: { data?: T; error?: Problem }): T {
  if (answer.data === undefined) {
    throw new Error(`${answer.error?.status} ${answer.error?.code}: ${answer.error?.detail}`);
  }
  return answer.data;
}

const who = unwrap(await client.GET("/v1/whoami"));

// The id is our own, so that asking again after a timeout is safe.
const id = `ts-${randomUUID()}`;
const path = { project, id };
unwrap(await client.POST("/v1/projects/{project}/exports", {
  params: { path: { project }, header: { "Idempotency-Key": id } },
  body: { compression: "zstd", format: "sql", metadata: { ticket: "OPS-42" } },
}));

let done: Export;
for (;;) {
  done = unwrap(await client.GET("/v1/projects/{project}/exports/{id}", { params: { path } }));
  if (done.state !== "waiting" && done.state !== "running") break;
  await setTimeout(pollEvery);
}
if (done.state !== "completed" || !done.outcome || !("sha256" in done.outcome)) {
  throw new Error(`the export is ${done.state}: ${done.code}`);
}

const listed: string[] = [];
let cursor: string | undefined;
do {
  const page = unwrap(await client.GET("/v1/projects/{project}/exports", {
    params: { path: { project }, query: { limit: 1, ...(cursor && { cursor }) } }, // a limit that makes more than one page
  }));
  listed.push(...page.exports.map((e) => e.request_id));
  cursor = page.next_cursor;
} while (cursor);

const link = unwrap(await client.POST("/v1/projects/{project}/exports/{id}/links", {
  params: { path }, body: { ttl: "1h", max_downloads: 1 },
}));

// The file is streamed, and is no text.
const fetched = await client.GET("/v1/projects/{project}/exports/{id}/file", { params: { path }, parseAs: "stream" });
if (!fetched.response.ok || !fetched.data) {
  throw new Error(`the file is answered with ${fetched.response.status}`);
}
await pipeline(Readable.fromWeb(fetched.data as import("node:stream/web").ReadableStream), createWriteStream(file));
const sum = createHash("sha256");
await pipeline(createReadStream(file), sum);
if (sum.digest("hex") !== done.outcome.sha256) {
  throw new Error("the file's SHA-256 is not that of the outcome");
}

const unknown = await client.GET("/v1/projects/{project}/exports/{id}", { params: { path: { project, id: "no-such-export" } } });
const code: Code | undefined = unknown.error?.code;
if (code !== "not_found") {
  throw new Error(`an unknown export is answered with ${unknown.response.status}`);
}
console.log(JSON.stringify({
  subject: who.subject, request_id: id, state: done.state, listed, link: link.url, bytes: done.outcome.stored_bytes, problem: code,
}));
