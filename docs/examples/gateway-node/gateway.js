// A gateway: it asks for an export of one project and waits for its one outcome.
//
//   npm ci && NATS_URL=nats://127.0.0.1:4222 node gateway.js PROJECT
//
// It prints the outcome as one JSON line, and exits with 1 if the export failed.
import { randomUUID } from "node:crypto";
import { AckPolicy, connect, DeliverPolicy, headers } from "nats";

const project = process.argv[2];
if (!/^[A-Za-z0-9_-]{1,100}$/.test(project ?? "")) {
  console.error("usage: node gateway.js PROJECT");
  process.exit(2);
}

const nc = await connect({ servers: process.env.NATS_URL ?? "nats://127.0.0.1:4222", name: "example-gateway-node" });
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
const js = nc.jetstream();
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

// The outcome is kept: it does not matter whether it was published before we look.
const jsm = await nc.jetstreamManager();
const { name } = await jsm.consumers.add("BACKUP_OUTCOMES", {
  filter_subjects: [`backup.completed.${project}.${id}`, `backup.failed.${project}.${id}`],
  deliver_policy: DeliverPolicy.All,
  ack_policy: AckPolicy.None,
});
const outcomes = await js.consumers.get("BACKUP_OUTCOMES", name);
let outcome = null;
while (outcome === null) {
  outcome = await outcomes.next({ expires: 10_000 }); // milliseconds; null: none yet
}
console.log(JSON.stringify(outcome.json()));
await outcomes.delete();
await nc.close();
process.exitCode = outcome.subject.startsWith("backup.failed.") ? 1 : 0;
