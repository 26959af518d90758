// The ways in which a program in Node makes consumers of outcomes with the operator's key. It prints
// a JSON line for each way: the number of outcomes that it got, or the subject that the broker refused.
import { readFileSync } from "node:fs";
import { connect, consumerOpts, Events, nkeyAuthenticator } from "nats";

const stream = "BACKUP_OUTCOMES";
const filters = ["backup.completed.>", "backup.failed.>"];
const seed = new TextEncoder().encode(readFileSync(process.env.NATS_NKEY, "utf8").trim());
const nc = await connect({ servers: process.env.NATS_URL, authenticator: nkeyAuthenticator(seed), inboxPrefix: "_INBOX_operator", waitOnFirstConnect: true });
const timeout = 60_000; // milliseconds; the default is what a busy machine may take
const jsm = await nc.jetstreamManager({ timeout });
const js = nc.jetstream({ timeout });

// An ordered consumer does not report a refusal. It retries, and only the connection's status shows it.
let refusal = () => {};
(async () => {
  for await (const s of nc.status()) {
    if (s.type === Events.Error && s.permissionContext?.operation === "publish") refusal(s.permissionContext.subject);
  }
})();

// take returns the number of outcomes taken from a consumer: the one completed, the one failed.
async function take(consumer) {
  let n = 0;
  for await (const m of await consumer.consume({ max_messages: 2 })) {
    if (++n === 2) break;
  }
  return n;
}

async function made(config) {
  const info = await jsm.consumers.add(stream, { ack_policy: "explicit", ...config });
  return take(await js.consumers.get(stream, info.name));
}

const ordered = async (options) => take(await js.consumers.get(stream, options));

const ways = {
  "durable": () => made({ durable_name: "n1" }),
  "durable, one filter": () => made({ durable_name: "n2", filter_subject: "backup.*.*.*" }),
  "durable, several filters": () => made({ durable_name: "n3", filter_subjects: filters }),
  "ephemeral with a name": () => made({ name: "n4", inactive_threshold: 60_000_000_000 }),
  "ordered": () => ordered(),
  "ordered, one filter": () => ordered({ filterSubjects: "backup.*.*.*" }),
  "ephemeral without a name": () => made({}),
  "ordered, a list of filters": () => ordered({ filterSubjects: filters }),
  "push without a name": () => js.subscribe("backup.completed.>", consumerOpts().deliverTo("_INBOX_operator.n5").ackExplicit()),
  "push, durable": async () => {
    await js.subscribe("backup.completed.>", consumerOpts().durable("n6").deliverTo("_INBOX_operator.n6").ackExplicit());
    return (await jsm.consumers.info(stream, "n6")).push_bound ? 1 : 0;
  },
};
for (const [way, run] of Object.entries(ways)) {
  const refused = new Promise((resolve) => { refusal = (subject) => resolve({ refused: subject }); });
  const tried = run().then((got) => ({ got }), async (err) => err.code === "PERMISSIONS_VIOLATION" ? refused : { error: err.message });
  console.log(JSON.stringify({ way, ...await Promise.race([tried, refused]) }));
}
process.exit(0); // an ordered consumer that was refused retries for ever
