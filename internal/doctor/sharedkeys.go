package doctor

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/pgcourier/pgcourier/internal/config"
	"github.com/pgcourier/pgcourier/internal/handover"
	"github.com/pgcourier/pgcourier/internal/handover/receipt"
	"github.com/pgcourier/pgcourier/internal/secret"
)

// sharedKey is a key that must be the same in several processes. A process without the setting
// makes its own key in its DATA_DIR.
type sharedKey struct {
	setting string // its name without the prefix
	value   secret.String
	file    string // in DATA_DIR, read if the setting is empty
	parse   func(text []byte) error
	shared  bool   // other processes may need the same
	differ  string // what happens when two processes have different keys
}

// checkSharedKeys looks at the keys of links and receipts.
func (x *examiner) checkSharedKeys(r *Report) {
	s := x.Settings
	others := s.NATSURL != "" // processes on other machines may share the work
	if s.Serves(config.RoleAPI) || s.Serves(config.RoleNotifier) && s.PublicURL != "" {
		r.Add("link", sharedKey{
			setting: "LINK_KEY", value: s.LinkKey, file: handover.KeyFile(s.DataDir), shared: others && s.PublicURL != "",
			differ: "an API refuses links of another key, and a notifier does not send them",
			parse:  func(text []byte) error { _, err := handover.ParseKeys(string(text)); return err },
		}.finding())
	} else {
		r.Skip("link", "the roles here make and send no links")
	}
	if s.Exporting() || s.Serves(config.RoleVerifier) {
		r.Add("receipt", sharedKey{
			setting: "RECEIPT_KEY", value: s.ReceiptKey, file: receipt.KeyFile(s.DataDir), shared: others,
			differ: "receipts are then verified with the public key of the process that signed them",
			parse:  func(text []byte) error { _, err := receipt.ParsePrivate(text); return err },
		}.finding())
	} else {
		r.Skip("receipt", "the roles here sign no receipts")
	}
}

func (k sharedKey) finding() Finding {
	name := config.Prefix + k.setting
	if k.value != "" {
		if err := k.parse([]byte(k.value.Reveal())); err != nil {
			return Finding{State: Fault, Found: name + ": " + err.Error(), Fix: "correct " + name + " or the file that " + name + "_FILE names"}
		}
		return Finding{State: OK, Found: name + " is set"}
	}
	text, err := secret.ReadFile(k.file)
	missing := errors.Is(err, fs.ErrNotExist)
	if err != nil && !missing {
		return Finding{State: Fault, Found: err.Error(), Fix: "let this user, and no other, read " + k.file + ", or set " + name + "_FILE"}
	}
	if err := k.parse(text); err != nil && !missing {
		return Finding{State: Fault, Found: k.file + ": " + err.Error(), Fix: "correct " + k.file + ", or set " + name + "_FILE"}
	}
	switch {
	case k.shared:
		return Finding{
			State: Warning, Found: fmt.Sprintf("%s is empty: each process makes a key in its own DATA_DIR (here %s); %s", name, k.file, k.differ),
			Fix: fmt.Sprintf("give all processes the same key: name a copy of %s in %s_FILE", k.file, name),
		}
	case missing:
		return Finding{State: OK, Found: "the first start makes " + k.file}
	}
	return Finding{State: OK, Found: k.file + " holds a key"}
}
