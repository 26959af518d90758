// A gateway: it asks for an export of one project and waits for its one outcome.
//
//   npm ci && NATS_URL=nats://127.0.0.1:4222 NATS_NKEY=../../../pgcourier-data/keys/gateway.nk \
//     node gateway.js PROJECT
//
// It prints the outcome as one JSON line, and exits with 1 if the export failed.
import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { connect, headers, nkeyAuthenticator } from "nats";

const project = process.argv[2];
if (!/^[A-Za-z0-9_-]{1,100}$/.test(project ?? "")) {
  console.error("usage: node gateway.js PROJECT");
  process.exit(2);
}

const nc = await connect({
  servers: process.env.NATS_URL ?? "nats://127.0.0.1:4222", name: "example-gateway-node",
  waitOnFirstConnect: true, // a broker that starts or is busy is tried again
  // The broker knows its users by their keys, and each has inboxes of its own.
  ...(process.env.NATS_NKEY && {
    authenticator: nkeyAuthenticator(new TextEncoder().encode(readFileSync(process.env.NATS_NKEY, "utf8").trim())),
    inboxPrefix: "_INBOX_gateway",
  }),
});
const id = randomUUID();

// The id is our own, so that asking again after a timeout is safe: the same request gives
// the same outcome. In the headers it is CloudEvents; a bare body would do as well.
const h = headers();
h.set("ce-specversion", "1.0");
h.set("ce-type", "backup.requested");
h.set("ce-source", "example/gateway-node");
h.set("ce-id", id);
h.set("content-type", "application/json");
const request = { project_id: project, request_id: id, format: "custom", requested_by: "gateway-node", metadata: { ticket: "OPS-42" } };
const timeout = 30_000; // milliseconds: a stream that elects a leader answers late
const js = nc.jetstream({ timeout });
try {
  await js.publish(`backup.requested.${project}`, JSON.stringify(request), { headers: h, msgID: `${project}.${id}` });
} catch (err) {
  if (err.api_error?.err_code === 10077) { // too many requests of this project wait already
    console.error("the project's queue is full: ask again later");
    await nc.close();
    process.exit(1);
  }
  throw err;
}

// The outcome is kept in a stream, so it does not matter whether it was published before we
// look. What is announced only tells when to look again.
const outcomes = `backup.*.${project}.${id}`;
let wake = () => {};
nc.subscribe(outcomes, { callback: () => wake() });
await nc.flush();
const jsm = await nc.jetstreamManager({ timeout });
async function kept() {
  try {
    return await jsm.streams.getMessage("BACKUP_OUTCOMES", { last_by_subj: outcomes });
  } catch (err) {
    if (err.api_error?.code === 404) return null;
    throw err;
  }
}
let outcome = await kept();
while (outcome === null) {
  await new Promise((resolve) => {
    wake = resolve;
    setTimeout(resolve, 2000); // milliseconds, if the announcement was lost
  });
  outcome = await kept();
}
console.log(JSON.stringify(outcome.json()));
await nc.close();
process.exitCode = outcome.subject.startsWith("backup.failed.") ? 1 : 0;
