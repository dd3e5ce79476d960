package main

import (
	"errors"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"hanse/node/admin"
)

func usersCommand() *cobra.Command {
	var a asking
	cmd := &cobra.Command{
		Use:   "users [USER_ID]",
		Short: "Which accounts there are, and which are locked, suspended or deactivated; lock and suspend them",
		Long: "List the accounts of the running node, or tell of one: when it was made, whether it is an administrator's, locked,\n" +
			"suspended or deactivated, and when and from where its devices were used last.",
		Example: "  hanse users\n  hanse users @alice:example.org\n  hanse users lock @eve:example.org",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				return ask(cmd, &a, "/users", url.Values{"id": args}, admin.Text.User)
			}
			return a.allUsers(cmd)
		},
	}
	a.flags(cmd)
	for _, do := range []struct{ name, short string }{
		{"lock", "Lock an account: it can't be used, in any client, until it is unlocked; nothing is lost"},
		{"unlock", "Unlock an account: its clients go on where they were"},
		{"suspend", "Suspend an account: it can be read with, but nothing new of it is seen by others"},
		{"unsuspend", "End the suspension of an account"},
	} {
		var one asking
		below := &cobra.Command{
			Use: do.name + " USER_ID", Short: do.short, Example: "  hanse users " + do.name + " @eve:example.org",
			Args: func(_ *cobra.Command, args []string) error {
				if len(args) != 1 {
					return errors.New("give one user ID, as in hanse users " + do.name + " @eve:example.org")
				}
				return nil
			},
			RunE: func(cmd *cobra.Command, args []string) error {
				client, err := one.client()
				if err != nil {
					return err
				}
				var user admin.User
				if err := client.Post(cmd.Context(), "/users", url.Values{"do": {do.name}, "id": args}, &user); err != nil {
					return err
				}
				return show(cmd, &one, user, admin.Text.User)
			},
		}
		one.flags(below)
		cmd.AddCommand(below)
	}
	return cmd
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
