package main

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"hanse/node/admin"
)

func usersCommand() *cobra.Command {
	var a asking
	cmd := &cobra.Command{
		Use:   "users [USER]",
		Short: "Which accounts there are; make accounts, set passwords, lock, suspend and deactivate",
		Long: "List the accounts of the running node, or tell of one: when it was made, whether it is an administrator's, locked,\n" +
			"suspended or deactivated, and when and from where its devices were used last.",
		Example: "  hanse users\n  hanse users alice\n  hanse users add bob\n  hanse users lock @eve:example.org",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return fmt.Errorf("give one user, or a command: %q is none of them; see hanse users --help", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				return ask(cmd, &a, "/users", url.Values{"id": args}, admin.Text.User)
			}
			return a.allUsers(cmd)
		},
	}
	a.flags(cmd)
	cmd.AddCommand(addUserCommand(), passwordCommand(), userEmailCommand(), deactivateCommand())
	for _, do := range []struct{ name, short string }{
		{"lock", "Lock an account: it can't be used, in any client, until it is unlocked; nothing is lost"},
		{"unlock", "Unlock an account: its clients go on where they were"},
		{"suspend", "Suspend an account: it can be read with, but nothing new of it is seen by others"},
		{"unsuspend", "End the suspension of an account"},
	} {
		cmd.AddCommand(userCommand(do.name, do.short, "eve", func(cmd *cobra.Command, one *asking, user string) error {
			return one.changeUser(cmd, url.Values{"do": {do.name}, "id": {user}}, "")
		}))
	}
	return cmd
}

// userCommand is a command about one user.
func userCommand(name, short, example string, run func(cmd *cobra.Command, a *asking, user string) error) *cobra.Command {
	var a asking
	cmd := &cobra.Command{
		Use: name + " USER", Short: short, Example: "  hanse users " + name + " " + example,
		Args: arguments(1, 1, "give one user, as in hanse users "+name+" "+example),
		RunE: func(cmd *cobra.Command, args []string) error { return run(cmd, &a, args[0]) },
	}
	a.flags(cmd)
	return cmd
}

func addUserCommand() *cobra.Command {
	var password newPassword
	var administrator bool
	cmd := userCommand("add", "Make an account, whether or not registration is open", "alice", func(cmd *cobra.Command, a *asking, user string) error {
		client, err := a.client()
		if err != nil {
			return err
		}
		var free admin.User
		if err := client.Get(cmd.Context(), "/users", url.Values{"free": {user}}, &free); err != nil {
			return err
		}
		text, err := password.get(cmd, free.User)
		if err != nil {
			return err
		}
		form := url.Values{"do": {"add"}, "id": {user}, "password": {text}, "admin": {strconv.FormatBool(administrator)}}
		return a.changeUser(cmd, form, password.made)
	})
	password.flags(cmd)
	cmd.Flags().BoolVar(&administrator, "admin", false, "make it an administrator of the server: may lock and suspend accounts, in clients that offer it")
	return cmd
}

func passwordCommand() *cobra.Command {
	var password newPassword
	var keep bool
	cmd := userCommand("password", "Give an account a new password, and log out its devices", "alice", func(cmd *cobra.Command, a *asking, user string) error {
		client, err := a.client()
		if err != nil {
			return err
		}
		var account admin.User
		if err := client.Get(cmd.Context(), "/users", url.Values{"id": {user}}, &account); err != nil {
			return err
		}
		text, err := password.get(cmd, account.User)
		if err != nil {
			return err
		}
		form := url.Values{"do": {"password"}, "id": {user}, "password": {text}, "keep_devices": {strconv.FormatBool(keep)}}
		return a.changeUser(cmd, form, password.made)
	})
	cmd.Long = "Give an account a new password. All its devices are logged out, unless --keep-devices is given: who knows only the old\n" +
		"password is out then. The user logs in again, and needs a recovery key or another backup of keys to read old encrypted messages."
	password.flags(cmd)
	cmd.Flags().BoolVar(&keep, "keep-devices", false, "leave the account's devices logged in")
	return cmd
}

func userEmailCommand() *cobra.Command {
	var a asking
	cmd := &cobra.Command{
		Use: "email USER add|remove ADDRESS", Short: "Give an account an e-mail address, by which its user logs in and gets a new password, or take one",
		Long: "Give an account an e-mail address, or take one from it. Its user logs in by it too and, where the server sends mails, gets a new\n" +
			"password by it. Nothing is sent: that the address is the user's is for you to know.",
		Example: "  hanse users email alice add alice@example.org\n  hanse users email alice remove alice@example.org",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 3 || args[1] != "add" && args[1] != "remove" {
				return errors.New("give a user, what to do and an address, as in hanse users email alice add alice@example.org")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.changeUser(cmd, url.Values{"do": {args[1] + "-email"}, "id": {args[0]}, "address": {args[2]}}, "")
		},
	}
	a.flags(cmd)
	return cmd
}

func deactivateCommand() *cobra.Command {
	var erase bool
	cmd := userCommand("deactivate", "End an account for good: no login, no devices, no profile, out of all rooms", "eve", func(cmd *cobra.Command, a *asking, user string) error {
		return a.changeUser(cmd, url.Values{"do": {"deactivate"}, "id": {user}, "erase": {strconv.FormatBool(erase)}}, "")
	})
	cmd.Long = "End an account for good; see lock for a way that can be taken back. Nobody can log in to it any more, its devices, their keys\n" +
		"and its profile are gone, and it leaves its rooms. What the user said stays there, and nobody else gets the name.\n" +
		"Where rooms could not be left, give the command again; the server tries it too when it starts."
	cmd.Flags().BoolVar(&erase, "erase", false, "also delete the account data, and show what the user said only to those who could see it when it was said; may be given later too")
	return cmd
}

// changedUser is what is told of a user after a change.
type changedUser struct {
	admin.User
	Password string `json:"password,omitempty"` // one that was made up: it is shown once
}

// changeUser changes a user and prints what came of it, and a password that was made up.
func (a *asking) changeUser(cmd *cobra.Command, form url.Values, password string) error {
	client, err := a.client()
	if err != nil {
		return err
	}
	changed := changedUser{Password: password}
	if err := client.Post(cmd.Context(), "/users", form, &changed.User); err != nil {
		return err
	}
	return show(cmd, a, changed, func(t admin.Text, changed changedUser) {
		t.User(changed.User)
		if changed.Password != "" {
			fmt.Fprintf(t.Out, "\nThe password, which is shown this once: %s\n", changed.Password)
		}
	})
}

// allUsers asks for one page after the other.
func (a *asking) allUsers(cmd *cobra.Command) error {
	client, err := a.client()
	if err != nil {
		return err
	}
	all := []admin.User{}
	for query := (url.Values{}); ; {
		var page []admin.User
		if err := client.Get(cmd.Context(), "/users", query, &page); err != nil {
			return err
		}
		if len(page) == 0 {
			return show(cmd, a, all, admin.Text.Users)
		}
		all = append(all, page...)
		query.Set("after", string(page[len(page)-1].User))
	}
}

// show prints an answer.
func show[T any](cmd *cobra.Command, a *asking, answer T, text func(admin.Text, T)) error {
	if a.json {
		return printJSON(cmd.OutOrStdout(), answer)
	}
	text(admin.Text{Out: cmd.OutOrStdout(), Colour: coloured(cmd.OutOrStdout()), Now: time.Now()}, answer)
	return nil
}
