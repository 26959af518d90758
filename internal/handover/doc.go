// Package handover has download links: each opens one stored export, with a page and a transfer.
//
// Links is the use case: it issues, lists and revokes links, issues those that requests name in deliver,
// and publishes their changes. Handler serves PUBLIC_URL/d/<token>. Both use small interfaces for
// records and files, and import no storage, no ledger and no broker.
//
// A link's token is its id and an HMAC over the id, the export and the expiry. The token is not stored:
// it can be computed again from the link's record and the link key.
package handover
