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
		Args:    cobra.NoArgs,
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
	cmd := &cobra.Command{
		Use: "delete NUMBER...", Short: "Delete reports that are dealt with", Example: "  hanse reports delete 4711",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("give the numbers of reports, as in hanse reports delete 4711; hanse reports shows them")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			var deleted admin.DeletedReports
			if err := client.Post(cmd.Context(), "/reports", url.Values{"number": args}, &deleted); err != nil {
				return err
			}
			return show(cmd, &a, deleted, admin.Text.DeletedReports)
		},
	}
	a.flags(cmd)
	return cmd
}
