package receipt

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"

	strict "github.com/go-json-experiment/json"
)

// PayloadType is the media type of the signed payload.
const PayloadType = "application/vnd.in-toto+json"

// MaxBytes bounds a receipt.
const MaxBytes = 64 << 10

// ErrWrong means that a receipt is not valid: it is malformed, altered, or signed by another key.
var ErrWrong = errors.New("the receipt is wrong")

// envelope is a DSSE envelope.
type envelope struct {
	Payload     string      `json:"payload"` // base64
	PayloadType string      `json:"payloadType"`
	Signatures  []signature `json:"signatures"`
}

type signature struct {
	KeyID string `json:"keyid"`
	Sig   string `json:"sig"` // base64
}

// PAE returns DSSE's pre-authentication encoding: the bytes that are signed.
func PAE(payloadType string, payload []byte) []byte {
	out := []byte("DSSEv1 " + strconv.Itoa(len(payloadType)) + " " + payloadType + " " + strconv.Itoa(len(payload)) + " ")
	return append(out, payload...)
}

// sign returns the envelope of a payload, as it is stored.
func sign(key ed25519.PrivateKey, payload []byte) ([]byte, error) {
	public, _ := key.Public().(ed25519.PublicKey)
	id, err := KeyID(public)
	if err != nil {
		return nil, err
	}
	b, err := json.MarshalIndent(envelope{
		Payload: base64.StdEncoding.EncodeToString(payload), PayloadType: PayloadType,
		Signatures: []signature{{KeyID: id, Sig: base64.StdEncoding.EncodeToString(ed25519.Sign(key, PAE(PayloadType, payload)))}},
	}, "", "  ")
	return append(b, '\n'), err
}

// Read returns the unverified statement of a receipt. ErrWrong: it is not a receipt.
func Read(receipt []byte) (Statement, error) {
	_, s, _, err := open(receipt)
	return s, err
}

// open decodes an envelope and its payload.
func open(receipt []byte) (envelope, Statement, []byte, error) {
	var e envelope
	var s Statement
	if len(receipt) > MaxBytes {
		return e, s, nil, fmt.Errorf("%w: it is larger than %d bytes", ErrWrong, MaxBytes)
	}
	if err := strict.Unmarshal(receipt, &e); err != nil {
		return e, s, nil, fmt.Errorf("%w: it is no DSSE envelope", ErrWrong)
	}
	payload, err := base64.StdEncoding.Strict().DecodeString(e.Payload)
	if err != nil || e.PayloadType != PayloadType {
		return e, s, nil, fmt.Errorf("%w: its payload is not %s", ErrWrong, PayloadType)
	}
	if err := strict.Unmarshal(payload, &s); err != nil {
		return e, s, nil, fmt.Errorf("%w: its payload is no statement", ErrWrong)
	}
	if err := s.check(); err != nil {
		return e, s, nil, err
	}
	return e, s, payload, nil
}

// Verify returns the statement of a receipt, and the id of the key among keys that has signed it.
// ErrWrong: no key has, or it is not a receipt.
func Verify(receipt []byte, keys ...ed25519.PublicKey) (Statement, string, error) {
	e, s, payload, err := open(receipt)
	if err != nil {
		return Statement{}, "", err
	}
	signed := PAE(e.PayloadType, payload)
	for _, key := range keys {
		id, err := KeyID(key)
		if err != nil {
			return Statement{}, "", err
		}
		// By the standard the key id is an unsigned hint, so every signature is tried.
		if slices.ContainsFunc(e.Signatures, func(g signature) bool {
			sig, err := base64.StdEncoding.DecodeString(g.Sig)
			return err == nil && ed25519.Verify(key, signed, sig)
		}) {
			return s, id, nil
		}
	}
	var ids []string
	for _, g := range e.Signatures {
		ids = append(ids, g.KeyID)
	}
	return Statement{}, "", fmt.Errorf("%w: none of the given keys has signed it; it names %q", ErrWrong, ids)
}
