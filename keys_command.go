package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"hanse/federation/id"
	"hanse/federation/signedjson"
	"hanse/keys"
	"hanse/node"
)

func keysCommand() *cobra.Command {
	cmd := keyCommand("keys", node.Keys)
	cmd.Short = "Which signing keys the server has, in use and old; a new one by rotate"
	cmd.Long = "List the keys of the signing key file: what signs, what is published as valid besides, and what did sign until when."
	cmd.AddCommand(rotateCommand())
	return cmd
}

func rotateCommand() *cobra.Command {
	cmd := keyCommand("rotate", node.RotateKeys)
	cmd.Short = "Make a new signing key, which alone signs from the next start; the others are published as old"
	cmd.Long = "Make a new signing key, by habit or because somebody else may have seen the one in use. The server must be stopped\n" +
		"meanwhile. What was signed before stays good: the public halves of the keys that did are kept, and published with\n" +
		"the time of the change. Their private halves are gone. Other servers ask for the new key when they first see it;\n" +
		"until they have asked, at the latest after a day, they may believe who signs with the old one. Back up the file anew."
	cmd.Example = "  sudo systemctl stop hanse\n  sudo -u hanse hanse keys rotate --config /etc/hanse/hanse.yaml\n  sudo systemctl start hanse"
	return cmd
}

// keyCommand is a command that shows the signing keys as get gets them.
func keyCommand(name string, get func(node.Config) (*keys.KeyFile, error)) *cobra.Command {
	var a asking
	cmd := &cobra.Command{
		Use:  name,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, err := a.config()
			if err != nil {
				return err
			}
			file, err := get(config)
			if err != nil {
				return err
			}
			return a.showKeys(cmd, file)
		},
	}
	a.flags(cmd)
	return cmd
}

// shownKey is a signing key, without its private half.
type shownKey struct {
	ID      id.KeyID `json:"key_id"`
	State   string   `json:"state"` // current, valid or old
	Public  string   `json:"public_key"`
	Expired int64    `json:"expired_ts,omitempty"` // ms since the epoch; of old ones
}

// showKeys prints what a key file lists, the old keys from the newest to the eldest.
func (a *asking) showKeys(cmd *cobra.Command, file *keys.KeyFile) error {
	list := []shownKey{{ID: file.Current.ID, State: "current", Public: signedjson.EncodeBase64(file.Current.Public())}}
	for _, key := range file.Others {
		list = append(list, shownKey{ID: key.ID, State: "valid", Public: signedjson.EncodeBase64(key.Public())})
	}
	for _, keyID := range slices.SortedFunc(maps.Keys(file.Old), func(a, b id.KeyID) int {
		return cmp.Compare(file.Old[b].ExpiredTS, file.Old[a].ExpiredTS)
	}) {
		old := file.Old[keyID]
		list = append(list, shownKey{ID: keyID, State: "old", Public: signedjson.EncodeBase64(old.Key), Expired: old.ExpiredTS})
	}
	if a.json {
		return printJSON(cmd.OutOrStdout(), list)
	}
	for _, key := range list {
		state := map[string]string{"current": "signs", "valid": "published as valid"}[key.State]
		if key.State == "old" {
			state = "old, signed until " + time.UnixMilli(key.Expired).Local().Format(time.DateTime)
		}
		if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%-18s  %-38s  %s\n", key.ID, state, key.Public); err != nil {
			return err
		}
	}
	return nil
}
