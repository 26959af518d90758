package term

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pgcourier/pgcourier/events"
)

// RequestFlags adds the flags of a request for an export to cmd. They set fields of r.
func RequestFlags(cmd *cobra.Command, r *events.Requested) {
	f := cmd.Flags()
	f.StringArrayVar(&r.Schemas, "schema", nil, "only this schema; may be repeated (default: all of the project's)")
	f.StringVar((*string)(&r.Format), "format", string(events.FormatSQL), "sql, tar, custom or directory (dumped by several connections at a time)")
	f.StringVar((*string)(&r.Compression), "compression", string(events.CompressionGzip), "gzip, zstd or none")
	f.StringVar((*string)(&r.CompressionLevel), "compression-level", "", "fast, default or best (the smallest export, for more processor time), with gzip and zstd (default: the project's, else the workers' setting)")
	f.IntVar(&r.Jobs, "jobs", 0, "tables dumped at a time, 1 to 16, with --format directory; the worker may allow fewer (default: chosen by the size)")
	f.StringVar(&r.StoragePath, "storage-path", "", "label under the project's own prefix of the storage")
	f.StringVar(&r.NotifyEmail, "notify-email", "", "address to notify of the outcome")
	f.StringToStringVar(&r.Metadata, "metadata", nil, "key=value, handed through to the outcome; may be repeated")
	f.StringArrayVar(&r.Recipients, "recipient", nil, "age or SSH public key that can decrypt the export, beside those of the operator and of the project; may be repeated")
	f.Var(&deliverFlag{&r.Deliver}, "deliver", "make a download link of the export: ttl=7d,max-downloads=3,after=completed or verified, or default")
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]string{"sql", "tar", "custom", "directory"}, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("compression", cobra.FixedCompletions([]string{"gzip", "zstd", "none"}, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("compression-level", cobra.FixedCompletions([]string{"fast", "default", "best"}, cobra.ShellCompDirectiveNoFileComp))
}

// deliverFlag reads --deliver. It implements pflag.Value.
type deliverFlag struct{ to **events.Deliver }

// Type returns the name of the value in help.
func (*deliverFlag) Type() string { return "RULE" }

func (f *deliverFlag) String() string {
	if f.to == nil || *f.to == nil {
		return ""
	}
	d := **f.to
	var parts []string
	if d.TTL != "" {
		parts = append(parts, "ttl="+d.TTL)
	}
	if d.MaxDownloads != 0 {
		parts = append(parts, "max-downloads="+strconv.Itoa(d.MaxDownloads))
	}
	if d.After != "" {
		parts = append(parts, "after="+string(d.After))
	}
	if len(parts) == 0 {
		return deliverDefault
	}
	return strings.Join(parts, ",")
}

// deliverDefault is the value for the default link: valid for a week, without a limit of downloads.
const deliverDefault = "default"

// Set reads names with values, separated by commas. The contract checks the values.
func (f *deliverFlag) Set(text string) error {
	d := events.Deliver{}
	*f.to = &d
	if text == deliverDefault {
		return nil
	}
	for part := range strings.SplitSeq(text, ",") {
		name, value, _ := strings.Cut(part, "=")
		switch name {
		case "ttl":
			if _, ok := events.ParseTTL(value); !ok {
				return fmt.Errorf("ttl=%s: it must be a time such as 48h or 7d, from 1 minute to 366 days", value)
			}
			d.TTL = value
		case "max-downloads":
			n, err := strconv.Atoi(value)
			if err != nil || n < 1 {
				return fmt.Errorf("max-downloads=%s: it must be 1 or more", value)
			}
			d.MaxDownloads = n
		case "after":
			if d.After = events.DeliverAfter(value); d.After != events.AfterCompleted && d.After != events.AfterVerified {
				return fmt.Errorf("after=%s: it must be completed or verified", value)
			}
		default:
			return fmt.Errorf("%q is not ttl, max-downloads or after; for a link with the defaults say %q", name, deliverDefault)
		}
	}
	return nil
}
