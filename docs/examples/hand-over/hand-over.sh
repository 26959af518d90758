#!/usr/bin/env bash
# From the request to the restored database with curl, openssl, age and psql alone.
#
#   API        address of the HTTP API, such as https://backups.example.org
#   TOKEN      a token with the scopes export and read
#   PROJECT    the project
#   EMAIL      the address that the link is sent to
#   MAILBOX    a file with the text of the mails that came to it
#   RECIPIENT  the customer's public key (age1... or ssh-ed25519 ...)
#   IDENTITY   the file with the customer's private key
#   RECEIPTS   the file with the public keys of receipts (pgcourier receipt key)
#   TARGET     an empty database to restore into, as a PostgreSQL URL
set -euo pipefail
exports=$API/v1/projects/$PROJECT/exports
auth="Authorization: Bearer $TOKEN"
id=hand-over-$(date +%s)

# 1. Ask. The Idempotency-Key is the request's id: asking again is safe.
curl -fsS -H "$auth" -H "Idempotency-Key: $id" -H 'Content-Type: application/json' "$exports" -d '{
  "recipients": ["'"$RECIPIENT"'"], "notify_email": "'"$EMAIL"'",
  "deliver": {"ttl": "2h", "max_downloads": 1}}' > asked.json

# 2. Follow, until the export is stored.
while read -r field value; do
  if [ "$field" = event: ]; then
    echo "$value"
    if [ "$value" = backup.completed ]; then break; fi
    if [ "$value" = backup.failed ]; then exit 1; fi
  fi
done < <(curl -fsSN -H "$auth" "$exports/$id/events")

# 3. The link comes by mail, and by mail only.
until link=$(tr -d '\r' < "$MAILBOX" | grep -Eo -m 1 'https?://[^ ]+/d/[a-z2-7]{26}\.[A-Za-z0-9_-]{43}'); do sleep 0.2; done

# 4. The receipt comes with the link, and uses nothing up.
curl -fsS "$link/receipt" > receipt.json

# 5. Fetch. The first transfer breaks off after 1,000 bytes, the second goes on there: one download.
curl -fsS -H 'Accept: application/octet-stream' "$link" 2>/dev/null | head -c 1000 > export.age || true
curl -fsS -H 'Accept: application/octet-stream' -C - -o export.age "$link"

# 6. Verify it: signed by the workers' key, and of this very file.
field() { tr -d '\n' < receipt.json | sed -E "s/.*\"$1\": *\"([^\"]*)\".*/\1/"; }
field payload | base64 -d > payload.json
field sig | base64 -d > signature.bin
type=application/vnd.in-toto+json
{ printf 'DSSEv1 %d %s %d ' ${#type} "$type" "$(wc -c < payload.json)"; cat payload.json; } > signed.bin
openssl pkeyutl -verify -pubin -inkey "$RECEIPTS" -rawin -in signed.bin -sigfile signature.bin
grep -q "\"sha256\":\"$(sha256sum < export.age | cut -d ' ' -f 1)\"" payload.json

# 7. Decrypt, decompress, restore.
age --decrypt --identity "$IDENTITY" export.age | gunzip | psql -Xq -v ON_ERROR_STOP=1 --single-transaction --file - "$TARGET" > restored.txt
echo "restored $id"
