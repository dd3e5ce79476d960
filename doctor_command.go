package main

import (
	"errors"

	"github.com/spf13/cobra"
)

func doctorCommand() *cobra.Command {
	var a asking
	cmd := &cobra.Command{
		Use:   "doctor [SERVER_NAME]",
		Short: "Why federation with a server works or doesn't, and how to mend it",
		Long: "Take the steps that every other server takes to reach one: its name, well-known, SRV records and addresses; to\n" +
			"each address TCP, TLS and its certificate, HTTP, the keys and the clock. Of what is wrong it says how to mend it.\n" +
			"Of your own server, which is examined without a name, also its settings, data folder, database, disk and ports.\n\n" +
			"The exit code is 0 if nothing is wrong (there may be warnings), 1 if something is, 2 if nothing could be examined.",
		Example: "  hanse doctor matrix.org\n  hanse doctor --config hanse.yaml",
		Args:    arguments(0, 1, "give one name, as in hanse doctor matrix.org, or none for the server of the configuration"),
		RunE: func(cmd *cobra.Command, args []string) error {
			config, err := a.config()
			if err != nil {
				return exitError{err, 2}
			}
			name := ""
			if len(args) == 1 {
				name = args[0]
			}
			report, err := config.Diagnose(cmd.Context(), name)
			if err != nil {
				return exitError{err, 2}
			}
			if a.json {
				err = printJSON(cmd.OutOrStdout(), report)
			} else {
				report.Write(cmd.OutOrStdout(), coloured(cmd.OutOrStdout()))
			}
			if err == nil && report.Wrong() {
				return exitError{errors.New("the doctor has found a problem"), 1}
			}
			return err
		},
	}
	a.flags(cmd)
	return cmd
}
