package main

import (
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pgcourier/pgcourier/internal/config"
	"github.com/pgcourier/pgcourier/internal/handover/receipt"
	"github.com/pgcourier/pgcourier/internal/storage"
)

func (a *app) receiptCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "receipt",
		Short: "Show and verify signed receipts of exports",
		Example: "  pgcourier receipt show nightly-42\n" +
			"  pgcourier receipt verify nightly-42.receipt.json --key receipt.pub",
		Long: "A receipt is what a worker has signed of an export: the SHA-256 of the stored file, how\n" +
			"many tables and rows were counted in the dump and in its snapshot, versions, times, and\n" +
			"the keys that open it. See docs/receipts.md.",
		Args: cobra.NoArgs,
	}
	cmd.AddCommand(a.receiptShowCommand(), a.receiptKeyCommand())
	return cmd
}

func (a *app) receiptShowCommand() *cobra.Command {
	var verified, raw bool
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Show the receipt of a stored export",
		Long: "Reads the receipt that lies beside an export. It is not verified: write it to a file\n" +
			"with --raw, and give that to receipt verify with the public key.\n\n" + idHelp,
		Example: "  pgcourier receipt show nightly-42 --raw > nightly-42.receipt.json",
		Args:    cobra.ExactArgs(1),
	}
	cmd.Flags().BoolVar(&verified, "verified", false, "the receipt that a verifier has signed")
	cmd.Flags().BoolVar(&raw, "raw", false, "write the receipt as it is stored")
	open, _ := a.readingFlags(cmd)
	cmd.RunE = coded(func(cmd *cobra.Command, args []string) (err error) {
		x, _, err := open()
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, x.Close()) }()
		copies, err := a.find(cmd.Context(), x, args[0])
		if err != nil {
			return err
		}
		kind := storage.Receipt
		if verified {
			kind = storage.Verification
		}
		var b []byte
		for _, c := range copies {
			if b, err = c.Destination.Receipt(cmd.Context(), c.Key, kind); err == nil {
				break
			}
		}
		switch {
		case errors.Is(err, storage.ErrNotFound):
			return exitf(exitNotFound, "%s has no such receipt", copies[0].ID)
		case err != nil:
			return err
		case raw:
			_, err := a.stdout.Write(b)
			return err
		}
		s, err := receipt.Read(b)
		if err != nil {
			return err
		}
		return a.print(s, a.screen().Pairs(s.Lines()))
	})
	return cmd
}

func (a *app) receiptKeyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "key",
		Short: "Print the public keys that verify receipts",
		Long: "Prints the public half of RECEIPT_KEY in PEM, or that of the key in DATA_DIR, which is\n" +
			"made if it is not there. Give it to the receivers of receipts over a way that they trust.",
		Example: "  pgcourier receipt key > receipt.pub",
		Args:    cobra.NoArgs,
	}
	load := a.settingFlags(cmd, "RECEIPT_KEY", "DATA_DIR")
	cmd.RunE = coded(func(*cobra.Command, []string) error {
		c, err := load()
		if err != nil {
			return err
		}
		signer, err := receipt.Open(c.ReceiptKey, c.DataDir, version)
		if err != nil {
			return config.AsError(err)
		}
		out := []receiptKey{}
		var text strings.Builder
		for _, key := range signer.Public() {
			id, err := receipt.KeyID(key)
			if err != nil {
				return err
			}
			pem, err := receipt.EncodePublic(key)
			if err != nil {
				return err
			}
			out = append(out, receiptKey{id, string(pem)})
			text.Write(pem)
		}
		return a.print(out, text.String())
	})
	return cmd
}

// receiptKey is a public key as JSON.
type receiptKey struct {
	KeyID string `json:"key_id"`
	PEM   string `json:"pem"`
}
