package main

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"

	"hanse/node/admin"
)

func reportsCommand() *cobra.Command {
	var a asking
	var limit int
	cmd := &cobra.Command{
		Use:   "reports",
		Short: "What users reported: events, rooms and users, the newest first; delete what is dealt with",
		Long: "List what users of the running node reported to its administrators: when, who, which room, event or user, and why;\n" +
			"of an event also who sent it, and the beginning of what it says, unless it is encrypted or redacted.",
		Example: "  hanse reports\n  hanse reports --limit 1000 --json\n  hanse reports delete 4711",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return ask(cmd, &a, "/reports", url.Values{"limit": {strconv.Itoa(limit)}}, func(t admin.Text, list []admin.Report) { t.Reports(list, limit) })
		},
	}
	a.flags(cmd)
	cmd.Flags().IntVar(&limit, "limit", 50, fmt.Sprintf("how many, 1 to %d", admin.MaxReports))
	cmd.AddCommand(deleteReportsCommand())
	return cmd
}

func deleteReportsCommand() *cobra.Command {
	var a asking
	var by string
	cmd := &cobra.Command{
		Use: "delete [NUMBER...]", Short: "Delete reports that are dealt with, or all of a user",
		Example: "  hanse reports delete 4711\n  hanse reports delete --by eve",
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case len(args) == 0 && by == "":
				return errors.New("give the numbers of reports, as in hanse reports delete 4711, or whose, as in hanse reports delete --by eve; hanse reports shows them")
			case len(args) > 0 && by != "":
				return errors.New("give either the numbers of reports or --by USER")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			var deleted admin.DeletedReports
			if err := client.Post(cmd.Context(), "/reports", url.Values{"number": args, "by": {by}}, &deleted); err != nil {
				return err
			}
			return show(cmd, &a, deleted, admin.Text.DeletedReports)
		},
	}
	a.flags(cmd)
	cmd.Flags().StringVar(&by, "by", "", "delete all reports of this user")
	return cmd
}
