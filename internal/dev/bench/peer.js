// What pgcourier replaces: pg_dump through zlib into a temporary file, which is then copied
// to where exports are kept.
"use strict";
const { spawn } = require("node:child_process");
const fs = require("node:fs");
const { pipeline } = require("node:stream/promises");
const { createGzip } = require("node:zlib");

const [temporary, output, dump, ...args] = process.argv.slice(2);

async function main() {
  const child = spawn(dump, args, { stdio: ["ignore", "pipe", "inherit"] });
  const ended = new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code) => (code === 0 ? resolve() : reject(new Error(`pg_dump exited with ${code}`))));
  });
  await Promise.all([pipeline(child.stdout, createGzip(), fs.createWriteStream(temporary)), ended]);
  await fs.promises.copyFile(temporary, output);
  await fs.promises.unlink(temporary);
}

main().catch((err) => {
  console.error(err.message);
  process.exitCode = 1;
});
