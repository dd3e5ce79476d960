// Hanse is a Matrix homeserver built around federation. This package is its command line: flags, environment, signals and
// exit codes, and nothing else.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"hanse/node"
	"hanse/testnet"
	"hanse/testnet/bench"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	go func() {
		<-ctx.Done()
		stop() // a second signal ends the process at once
	}()
	if err := command().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "hanse:", err)
		var exit exitError
		if errors.As(err, &exit) {
			os.Exit(exit.code)
		}
		os.Exit(1)
	}
}

// exitError is an error with an exit code of its own.
type exitError struct {
	error
	code int
}

func (e exitError) Unwrap() error { return e.error }

func command() *cobra.Command {
	root := &cobra.Command{
		Use:           "hanse",
		Short:         "A Matrix homeserver built around federation",
		Version:       node.Version(),
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return exitError{err, 2} }) // as what has no answer: 1 is one
	root.CompletionOptions.HiddenDefaultCmd = true
	grouped(root, "A server:", serveCommand(), configCommand(), keysCommand(), emailCommand(), doctorCommand())
	grouped(root, "What a running server knows and does:", usersCommand(), reportsCommand(), roomsCommand(), peersCommand(), servicesCommand(), explainCommand(), traceCommand())
	grouped(root, "Trying and testing:", testnetCommand(), conformanceCommand())
	root.SetHelpCommandGroupID("Trying and testing:")
	return root
}

// grouped adds commands under a heading of their own.
func grouped(root *cobra.Command, heading string, below ...*cobra.Command) {
	root.AddGroup(&cobra.Group{ID: heading, Title: heading})
	for _, cmd := range below {
		cmd.GroupID = heading
		root.AddCommand(cmd)
	}
}

// group is a command that does nothing itself: those below it do.
func group(name, short string, below ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use: name, Short: short, DisableFlagsInUseLine: true,
		Args: func(cmd *cobra.Command, args []string) error {
			if err := cobra.NoArgs(cmd, args); err != nil { // a word that is no command is a mistake, not a question for help
				return exitError{err, 2}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(below...)
	return cmd
}

func serveCommand() *cobra.Command {
	var file string
	var untilStdinCloses bool
	serve := &cobra.Command{
		Use:   "serve",
		Short: "Run a homeserver",
		Long: "Run a homeserver. Settings come from the file given with --config, then from the environment\n" +
			"(HANSE_SERVER_NAME, ...), then from flags; `hanse config example` explains each.",
		Example: "  hanse serve --server-name example.org\n  hanse serve --config hanse.yaml",
		Args:    noArguments,
	}
	settings := node.Settings()
	values := make([]string, len(settings))
	for i, setting := range settings {
		doc, _, _ := strings.Cut(setting.Doc, "\n")
		serve.Flags().StringVar(&values[i], setting.Flag(), "", doc)
		if setting.Switch {
			serve.Flags().Lookup(setting.Flag()).NoOptDefVal = "true"
		}
	}
	serve.Flags().StringVar(&file, "config", "", "the configuration file (YAML)")
	serve.Flags().BoolVar(&untilStdinCloses, "until-stdin-closes", false, "stop when standard input ends, for programs that start this one")
	serve.RunE = func(cmd *cobra.Command, _ []string) error {
		config, err := configured(file)
		if err != nil {
			return err
		}
		for i, setting := range settings {
			if cmd.Flags().Changed(setting.Flag()) {
				if err := setting.Set(&config, values[i]); err != nil {
					return fmt.Errorf("--%s: %w", setting.Flag(), err)
				}
			}
		}
		ctx := cmd.Context()
		if untilStdinCloses {
			ctx = untilClosed(ctx, os.Stdin)
		}
		return serveUntil(ctx, config)
	}
	return serve
}

func readConfig(file string) (node.Config, error) {
	if file == "" {
		return node.Config{}, nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return node.Config{}, fmt.Errorf("--config: %w", err)
	}
	return node.ReadConfig(file, data)
}

// configured is the configuration of the file and, over it, of the environment.
func configured(file string) (node.Config, error) {
	config, err := readConfig(file)
	if err != nil {
		return config, err
	}
	for _, setting := range node.Settings() {
		if value, ok := os.LookupEnv(setting.Env()); ok {
			if err := setting.Set(&config, value); err != nil {
				return config, fmt.Errorf("environment variable %s: %w", setting.Env(), err)
			}
		}
	}
	return config, nil
}

// untilClosed ends the context when r ends.
func untilClosed(ctx context.Context, r io.Reader) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		_, _ = io.Copy(io.Discard, r)
		cancel()
	}()
	return ctx
}

// serveUntil runs a node until ctx ends.
func serveUntil(ctx context.Context, config node.Config) error {
	if err := config.Validate(); err != nil {
		return fmt.Errorf("the configuration can't be used:\n  %s", strings.ReplaceAll(err.Error(), "\n", "\n  "))
	}
	log := slog.New(config.LogHandler(os.Stderr))
	for name, meant := range node.Misspelt(os.Environ()) {
		log.Warn("an environment variable is no setting, and counts for nothing", "name", name, "probably_meant", meant)
	}
	server, err := node.New(ctx, config, log)
	if err != nil {
		return err
	}
	changed := make(chan os.Signal, 1)
	signal.Notify(changed, syscall.SIGHUP)
	defer signal.Stop(changed)
	go func() {
		for {
			select {
			case <-changed:
				server.Reload()
			case <-ctx.Done():
				return
			}
		}
	}()
	return server.Run(ctx)
}

func configCommand() *cobra.Command {
	return group("config", "What can be configured", &cobra.Command{
		Use:   "example",
		Short: "Print a configuration file with every setting and its meaning",
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := io.WriteString(cmd.OutOrStdout(), node.ExampleConfig())
			return err
		},
	})
}

// count is a flag's number of nodes.
type count int

func (c *count) String() string { return strconv.Itoa(int(*c)) }
func (c *count) Type() string   { return "number" }

// Set implements pflag.Value; its errors are for people.
func (c *count) Set(text string) error {
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > testnet.MaxNodes {
		return fmt.Errorf("a testnet has 1 to %d nodes", testnet.MaxNodes)
	}
	*c = count(n)
	return nil
}

func testnetCommand() *cobra.Command {
	options := testnet.Options{}
	up := &cobra.Command{
		Use:   "up",
		Short: "Start several nodes that federate, with users who talk, and stay up until Ctrl-C",
		Long: "Start several nodes, each its own process with its own data folder, loopback address, key and certificate.\n" +
			"They find each other through the testnet's DNS server and trust its certificate authority. A user on each\n" +
			"node joins one room, by alias and by invite; all talk, and every node must end with the same room.",
		Example: "  hanse testnet up\n  hanse testnet up --nodes 5 --room-version 11 --dir ./my-testnet",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			noStopInBackground()
			options.Out, options.In = cmd.OutOrStdout(), cmd.InOrStdin()
			if options.Program, err = os.Executable(); err != nil {
				return err
			}
			return testnet.Up(cmd.Context(), options)
		},
	}
	up.Flags().Var((*count)(&options.Nodes), "nodes", fmt.Sprintf("how many nodes, 1 to %d (default 3)", testnet.MaxNodes))
	up.Flags().StringVar(&options.RoomVersion, "room-version", "", "version of the room they meet in, 1 to 12 (default: the server's)")
	up.Flags().BoolVar(&options.Once, "once", false, "stop after the scenario: exit code 0 if it went well, 1 if not")
	up.Flags().StringVar(&options.Dir, "dir", "", "keep the data in this folder; a later start on it goes on where this one stopped")
	up.Flags().BoolVar(&options.JSON, "json", false, "print JSON lines, for programs")

	oneNode := &cobra.Command{
		Use:   "node",
		Short: "Run one node by the adapter contract (orders in the environment; see doc/adapter.md)",
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, err := testnet.NodeConfig(os.Getenv)
			if err != nil {
				return err
			}
			return serveUntil(cmd.Context(), config)
		},
	}
	var memberFile string
	member := &cobra.Command{
		Use:    "member",
		Short:  "One node of a testnet, which takes orders on its standard input: hanse testnet up starts it",
		Hidden: true,
		Args:   noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, err := readConfig(memberFile)
			if err != nil {
				return err
			}
			return testnet.RunMember(cmd.Context(), config, os.Stdin, slog.New(config.LogHandler(os.Stderr)))
		},
	}
	member.Flags().StringVar(&memberFile, "config", "", "the node's configuration file")
	return group("testnet", "A small Matrix on one machine", up, oneNode, member, benchCommand())
}

func benchCommand() *cobra.Command {
	options := bench.Options{}
	var list, others bool
	measure := &cobra.Command{
		Use:   "bench",
		Short: "Measure this homeserver, or any other, as its clients and its peers see it",
		Long: "Start a homeserver through an adapter (doc/adapter.md), this one first, play the other servers and the\n" +
			"clients, check what arrives, and print a table: a column a server, beside it what this machine does at best with\n" +
			"the same events. A figure whose events were wrong, missing, doubled or out of order is void: the exit code is 1.",
		Example: "  hanse testnet bench\n  hanse testnet bench --quick --scenario inbound --scenario sync\n" +
			"  hanse testnet bench --adapter conformance/adapters/synapse.sh",
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			options.Out, options.Progress = cmd.OutOrStdout(), cmd.ErrOrStderr()
			if list {
				for _, scenario := range bench.Scenarios() {
					fmt.Fprintf(options.Out, "%-10s %s\n", scenario.Name, scenario.What)
				}
				return nil
			}
			if !others {
				if options.Program, err = os.Executable(); err != nil {
					return err
				}
			}
			return bench.Run(cmd.Context(), options)
		},
	}
	flags := measure.Flags()
	flags.BoolVar(&list, "list", false, "list the scenarios")
	flags.StringArrayVar(&options.Adapters, "adapter", nil, "an executable by the adapter contract; may be given several times")
	flags.BoolVar(&others, "others-only", false, "measure the adapters' servers alone, without this hanse")
	flags.StringArrayVar(&options.Scenarios, "scenario", nil, "only this scenario; may be given several times")
	flags.IntVar(&options.Members, "members", 0, "members of the large room (default 10000)")
	flags.IntVar(&options.Destinations, "destinations", 0, "other servers in the room that is sent to (default 20)")
	flags.IntVar(&options.Clients, "clients", 0, "clients that wait in /sync (default 50)")
	flags.IntVar(&options.Branches, "branches", 0, "branches of the fork (default 50)")
	flags.IntVar(&options.Missed, "missed", 0, "events that are missed in an outage (default 500)")
	flags.DurationVar(&options.Duration, "duration", 0, "of the overload (default 20s)")
	flags.Uint64Var(&options.Seed, "seed", 0, "of texts, keys and orders (default 1)")
	flags.BoolVar(&options.Quick, "quick", false, "a tenth of everything: to see whether it works")
	flags.StringVar(&options.Dir, "dir", "", "keep the servers' data and logs in this folder")
	flags.BoolVar(&options.JSON, "json", false, "print JSON in place of the table")
	return measure
}
