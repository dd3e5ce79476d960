package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func emailCommand() *cobra.Command {
	return group("email", "Whether mails to users go out", testEmailCommand())
}

func testEmailCommand() *cobra.Command {
	var a asking
	cmd := &cobra.Command{
		Use: "test ADDRESS", Short: "Send a mail to try the settings of email", Example: "  hanse email test you@example.org --config hanse.yaml",
		Long: "Send a mail to an address by the mail server of the settings, as the server would, and say what went wrong if it did.\n" +
			"The server needn't run.",
		Args: arguments(1, 1, "give one address, as in hanse email test you@example.org"),
		RunE: func(cmd *cobra.Command, args []string) error {
			config, err := a.config()
			if err != nil {
				return err
			}
			if err := config.TestEmail(cmd.Context(), args[0]); err != nil {
				return err
			}
			if a.json {
				return printJSON(cmd.OutOrStdout(), map[string]string{"sent_to": args[0]})
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "The mail server took the mail to %s. If it doesn't come, look among spam, and into the mail server's log.\n", args[0])
			return err
		},
	}
	a.flags(cmd)
	return cmd
}
