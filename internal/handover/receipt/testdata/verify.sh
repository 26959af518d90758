# usage: verify RECEIPT PUBLIC-KEY EXPORT
receipt=$1 key=$2 export=$3
field() { tr -d '\n' < "$receipt" | sed -E "s/.*\"$1\": *\"([^\"]*)\".*/\1/"; }

field payload | base64 -d > payload.json
field sig | base64 -d > signature.bin
# What is signed is the payload with its type and their lengths before it (DSSE).
type=application/vnd.in-toto+json
{ printf 'DSSEv1 %d %s %d ' ${#type} "$type" "$(wc -c < payload.json)"; cat payload.json; } > signed.bin
openssl pkeyutl -verify -pubin -inkey "$key" -rawin -in signed.bin -sigfile signature.bin

# The receipt is of this file: its SHA-256 is the subject's.
sum=$(sha256sum < "$export" | cut -d ' ' -f 1)
grep -q "\"sha256\":\"$sum\"" payload.json
