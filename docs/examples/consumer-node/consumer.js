// A consumer of outcomes: it gets each outcome at least once, also those that came
// while it did not run.
//
//   npm ci && NATS_URL=nats://127.0.0.1:4222 NATS_NKEY=../../../pgcourier-data/keys/operator.nk \
//     node consumer.js
//
// It prints one JSON line for each outcome and ends on SIGTERM.
import { readFileSync } from "node:fs";
import { AckPolicy, connect, DeliverPolicy, nkeyAuthenticator } from "nats";

const nc = await connect({
  servers: process.env.NATS_URL ?? "nats://127.0.0.1:4222", name: "example-consumer-node",
  waitOnFirstConnect: true, // a broker that starts or is busy is tried again
  // The broker knows its users by their keys, and each has inboxes of its own.
  ...(process.env.NATS_NKEY && {
    authenticator: nkeyAuthenticator(new TextEncoder().encode(readFileSync(process.env.NATS_NKEY, "utf8").trim())),
    inboxPrefix: "_INBOX_operator",
  }),
});

// A durable consumer of its own name: the broker remembers where it is. Several processes
// under one name share the work.
const timeout = 30_000; // milliseconds: a stream that elects a leader answers late
const jsm = await nc.jetstreamManager({ timeout });
await jsm.consumers.add("BACKUP_OUTCOMES", {
  durable_name: "example-node",
  ack_policy: AckPolicy.Explicit,
  deliver_policy: DeliverPolicy.All,
  ack_wait: 30_000_000_000, // nanoseconds
});

// Called once for each delivery. It must bear being called twice for the same outcome: the
// event's id (ce-id) is the same then.
async function handle(type, event) {
  switch (type) {
    case "backup.completed":
      console.log(JSON.stringify({ id: event.request_id, project: event.project_id, outcome: "completed", bytes: event.stored_bytes, at: event.storage[0].uri }));
      return;
    case "backup.failed":
      console.log(JSON.stringify({ id: event.request_id, project: event.project_id, outcome: "failed", code: event.code }));
  }
}

const consumer = await nc.jetstream({ timeout }).consumers.get("BACKUP_OUTCOMES", "example-node");
const messages = await consumer.consume({ max_messages: 10 });
for (const signal of ["SIGTERM", "SIGINT"]) {
  process.once(signal, () => messages.stop());
}
console.error("listening");
for await (const m of messages) {
  try {
    // The subject is backup.completed.<project>.<request> or backup.failed....
    await handle(m.subject.split(".").slice(0, 2).join("."), m.json());
    m.ack();
  } catch (err) {
    console.error(`${m.subject}: ${err.message}`);
    m.nak(5_000); // milliseconds until it comes again
  }
}
await nc.drain(); // sends the last acks
