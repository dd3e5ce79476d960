package main

import (
	"fmt"
	"net/url"

	"github.com/spf13/cobra"

	"hanse/conformance"
	"hanse/conformance/suite"
	"hanse/federation/id"
	"hanse/testnet/adapter"
)

func conformanceCommand() *cobra.Command {
	return group("conformance", "Does a homeserver federate? Ask this one, or any other", conformanceRunCommand(), conformanceCoverageCommand())
}

func conformanceRunCommand() *cobra.Command {
	o := conformance.Options{}
	deployed := suite.Deployed{}
	var names, server, authorities string
	var list bool
	run := &cobra.Command{
		Use:   "run",
		Short: "Test a homeserver against the Matrix specification",
		Long: "Start a homeserver through an adapter (doc/adapter.md), play the servers and the users around it, and say which\n" +
			"sentences of the specification it doesn't keep. With --server, test one that runs already and that you are\n" +
			"allowed to test: what needs no control over it, slowly; the rooms that are made are left at the end.\n\n" +
			"Exit code 0: every test passed, but for the expected failures. 1: others failed. 2: the tests could not be run.",
		Example: "  hanse conformance run --adapter ./my-server.sh\n" +
			"  hanse conformance run --adapter ./my-server.sh --label 's2s:joins' --room-version 11 --room-version 12\n" +
			"  hanse conformance run --adapter ./my-server.sh --expected known-failures.txt --junit report.xml\n" +
			"  hanse conformance run --server example.org --client-url https://matrix.example.org --token \"$TOKEN\"",
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			o.Out, o.Progress = cmd.OutOrStdout(), cmd.ErrOrStderr()
			switch names {
			case "dns":
			case "literals":
				o.LiteralNames = true
			default:
				return unable(fmt.Errorf("--names %q: it is dns or literals", names))
			}
			if o.Processes < 1 {
				return unable(fmt.Errorf("--processes %d: at least one process makes the run", o.Processes))
			}
			if server != "" || deployed.ClientURL != "" {
				if base, err := url.Parse(deployed.ClientURL); err != nil || base.Scheme != "http" && base.Scheme != "https" || base.Host == "" {
					return unable(fmt.Errorf("--client-url %q: give the URL of the client-server API of the server, such as https://matrix.example.org", deployed.ClientURL))
				}
				if deployed.Name, err = id.ParseServerName(server); err != nil {
					return unable(fmt.Errorf("--server %q: %w", server, err))
				}
				if deployed.Roots, err = suite.ReadRoots(authorities); err != nil {
					return unable(fmt.Errorf("--ca %q: %w", authorities, err))
				}
				o.Deployed = &deployed
			}
			if list {
				return unable(conformance.List(o))
			}
			if (o.Adapter == "") == (o.Deployed == nil) {
				return unable(fmt.Errorf("either --adapter or --server with --client-url says what is tested"))
			}
			if o.Adapter != "" {
				if err := adapter.Check(o.Adapter); err != nil {
					return unable(fmt.Errorf("--adapter: %w", err))
				}
			}
			return unable(conformance.Run(cmd.Context(), o))
		},
	}
	flags := run.Flags()
	flags.StringVar(&o.Adapter, "adapter", "", "the executable that starts the server, by the contract of doc/adapter.md")
	flags.StringVar(&names, "names", "dns", "dns: the server asks DNS_SERVER for names; literals: it doesn't, so that servers are named by loopback addresses with ports")
	flags.StringVar(&server, "server", "", "the name of a server that runs already")
	flags.StringVar(&deployed.ClientURL, "client-url", "", "its client-server API")
	flags.StringVar(&deployed.Token, "token", "", "the access token of the user to be there; without it one is registered")
	flags.StringVar(&deployed.Secret, "registration-secret", "", "the secret to register with where registration is not open")
	flags.StringVar(&authorities, "ca", "", "a PEM file of certificate authorities to trust in place of the system's")
	flags.DurationVar(&deployed.Pause, "pause", 0, "between two requests to a server that runs already (default 250ms)")
	flags.StringVar(&o.Labels, "label", "", `only tests with these labels, in Ginkgo's filter language: "s2s:joins && !rooms:v1"`)
	flags.StringArrayVar(&o.Focus, "focus", nil, "only tests whose text matches this regular expression; may be given several times")
	flags.StringSliceVar(&o.RoomVersions, "room-version", nil, "of the tests that are about room versions, only those about this one; may be given several times")
	flags.BoolVar(&list, "list", false, "list the tests, and run none")
	flags.Int64Var(&o.Seed, "seed", 0, "of the order of the tests (default: by the clock; it is printed)")
	flags.IntVar(&o.Processes, "processes", 1, "how many processes make the run together, each with a server of its own")
	flags.StringVar(&o.Share, "share", "", "")
	_ = flags.MarkHidden("share") // it is there: it was made above
	flags.StringVar(&o.Expected, "expected", "", "a file of tests that are known to fail: a test's text a line, * for anything, # before the reason")
	flags.StringVar(&o.JUnit, "junit", "", "write the report to this file as JUnit XML")
	flags.StringVar(&o.JSON, "json", "", `write the report to this file as JSON; "-": print it in place of the report for people`)
	flags.StringVar(&o.Folder, "dir", "", "keep the server's data and log in this folder")
	flags.DurationVar(&o.ReadyTimeout, "ready-timeout", 0, "how long the server may take to start (default 2m)")
	flags.DurationVar(&o.Patience, "patience", 0, "how long the server may take for what should be a moment (default 15s)")
	return run
}

func conformanceCoverageCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "coverage",
		Short: "Print which section and operation of the specification is tested by what, and which by nothing",
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return conformance.Coverage(cmd.OutOrStdout())
		},
	}
}

// unable gives a run's error its exit code.
func unable(err error) error {
	if err == nil {
		return nil
	}
	return exitError{err, conformance.ExitCode(err)}
}
