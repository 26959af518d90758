package main

import (
	"crypto/ed25519"
	"errors"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/pgcourier/pgcourier/internal/config"
	"github.com/pgcourier/pgcourier/internal/handover/receipt"
	"github.com/pgcourier/pgcourier/internal/term"
)

func (a *app) receiptVerifyCommand() *cobra.Command {
	var keys []string
	var object string
	cmd := &cobra.Command{
		Use:   "verify FILE",
		Short: "Verify a receipt offline, and the file that it is of",
		Long: "Checks that one of the given public keys has signed the receipt and, with --object, that\n" +
			"the receipt is of that file. It needs no network and no configuration. If the signature\n" +
			"or the file is wrong, the exit code is 4.",
		Example: "  pgcourier receipt verify nightly-42.receipt.json --key receipt.pub --object nightly-42.1.sql.gz.age",
		Args:    cobra.ExactArgs(1),
	}
	cmd.Flags().StringArrayVar(&keys, "key", nil, "file with public keys in PEM, as receipt key prints them; may be repeated; required")
	cmd.Flags().StringVar(&object, "object", "", "the exported file as it was stored, encrypted or not")
	_ = cmd.MarkFlagRequired("key")
	_ = cmd.MarkFlagFilename("key")
	_ = cmd.MarkFlagFilename("object")
	cmd.RunE = coded(func(_ *cobra.Command, args []string) error {
		var public []ed25519.PublicKey
		for _, file := range keys {
			text, err := os.ReadFile(file) //nolint:gosec // the user names the file
			if err != nil {
				return config.AsError(err)
			}
			more, err := receipt.ParsePublic(text)
			if err != nil {
				return config.Errorf("--key %s: %w", file, err)
			}
			public = append(public, more...)
		}
		b, err := readUpTo(args[0], receipt.MaxBytes)
		if err != nil {
			return config.AsError(err)
		}
		s, id, err := receipt.Verify(b, public...)
		if err != nil {
			return err
		}
		if object != "" {
			if err := receipt.MatchFile(s, object); err != nil {
				return err
			}
		}
		out := verifiedReceipt{s, id, object}
		return a.print(out, out.text(a.screen()))
	})
	return cmd
}

// verifiedReceipt is what receipt verify found.
type verifiedReceipt struct {
	receipt.Statement
	KeyID  string `json:"key_id"`
	Object string `json:"object,omitempty"` // the file that was compared
}

func (v verifiedReceipt) text(s term.Screen) string {
	what := "the receipt is signed by " + v.KeyID
	if v.Object != "" {
		what += ", and " + v.Object + " is the file that it is of"
	}
	return s.Pairs([][2]string{{"verified", what}}) + s.Pairs(v.Lines())
}

// readUpTo reads a small file, or its beginning.
func readUpTo(file string, limit int64) (b []byte, err error) {
	f, err := os.Open(file) //nolint:gosec // the user names the file
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return io.ReadAll(io.LimitReader(f, limit+1))
}
