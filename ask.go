package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"time"

	"github.com/spf13/cobra"

	"hanse/node"
	"hanse/node/admin"
)

// asking is what the commands that ask a running node have in common.
type asking struct {
	file    string
	dataDir string
	json    bool
}

// arguments takes from least to most arguments; mistaken is what to do for who gives others.
func arguments(least, most int, mistaken string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) < least || len(args) > most {
			return exitError{errors.New(mistaken), 2}
		}
		return nil
	}
}

// noArguments is for a command that takes flags at most.
func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return exitError{fmt.Errorf("%s takes no arguments, but was given %q; see %[1]s --help", cmd.CommandPath(), args[0]), 2}
}

func (a *asking) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&a.file, "config", "", "the node's configuration file, which names its data folder")
	cmd.Flags().StringVar(&a.dataDir, "data-dir", "", "the node's data folder (default: that of the configuration, or ./data)")
	cmd.Flags().BoolVar(&a.json, "json", false, "print JSON, for programs")
}

// config is the node's configuration as far as it is given.
func (a *asking) config() (node.Config, error) {
	config, err := configured(a.file)
	if a.dataDir != "" {
		config.DataDir = a.dataDir
	}
	return config, err
}

func (a *asking) client() (*admin.Client, error) {
	config, err := a.config()
	if err != nil {
		return nil, err
	}
	return admin.Dial(config.Folder()), nil
}

// ask asks the node and prints its answer.
func ask[T any](cmd *cobra.Command, a *asking, path string, query url.Values, text func(admin.Text, T)) error {
	client, err := a.client()
	if err != nil {
		return err
	}
	var answer T
	if err := client.Get(cmd.Context(), path, query, &answer); err != nil {
		return err
	}
	return show(cmd, a, answer, text)
}

func printJSON(out io.Writer, value any) error {
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(value)
}

// coloured tells whether colours are of use: on a terminal whose user doesn't mind them (https://no-color.org).
func coloured(out io.Writer) bool {
	file, ok := out.(*os.File)
	if !ok || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

func explainCommand() *cobra.Command {
	var a asking
	var user string
	cmd := &cobra.Command{
		Use:   "explain EVENT_ID",
		Short: "What became of an event: how it came, every check, who sees it, where it went",
		Long: "Ask the running node what became of an event: when it came, from whom and by which way; each check with its\n" +
			"verdict, the rule of the specification and the events that decided it; why clients don't see it; the state\n" +
			"resolution before it; which servers took it, and why others have not. Of an event that isn't here it says what\n" +
			"is known: what it waits for, or why it was refused lately.",
		Example: "  hanse explain '$ZHu2…'\n  hanse explain '$ZHu2…' --user @bob:example.org --config hanse.yaml",
		Args:    arguments(1, 1, "give one event ID, in quotes, as in hanse explain '$ZHu2…'"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return ask(cmd, &a, "/explain", url.Values{"event": args, "user": {user}}, admin.Text.Explanation)
		},
	}
	a.flags(cmd)
	cmd.Flags().StringVar(&user, "user", "", "also tell whether this user sees it")
	return cmd
}

func peersCommand() *cobra.Command {
	return listing("peers [SERVER_NAME]", "give one server, as in hanse peers matrix.org, or none for all", "How it stands with other servers: reachable or not and why, what waits, what is refused",
		"/peers", "name", admin.Text.Peers, admin.Text.Peer)
}

func roomsCommand() *cobra.Command {
	return listing("rooms [ROOM_ID]", "give one room ID, in quotes, as in hanse rooms '!ZHu2…', or none for all", "How it stands with rooms: members, extremities, gaps, what waits, state resets",
		"/rooms", "id", admin.Text.Rooms, admin.Text.Room)
}

// listing is a command that asks for all of something or, if one is named, for that.
func listing[All, One any](use, mistaken, short, path, name string, all func(admin.Text, All), one func(admin.Text, One)) *cobra.Command {
	var a asking
	cmd := &cobra.Command{
		Use: use, Short: short, Args: arguments(0, 1, mistaken),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				return ask(cmd, &a, path, url.Values{name: args}, one)
			}
			return ask(cmd, &a, path, nil, all)
		},
	}
	a.flags(cmd)
	return cmd
}

func servicesCommand() *cobra.Command {
	var a asking
	cmd := &cobra.Command{
		Use:   "services",
		Short: "How it stands with application services: whether they take what they are sent, and how far behind they are",
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return ask(cmd, &a, "/services", nil, admin.Text.Services)
		},
	}
	a.flags(cmd)
	return cmd
}

func traceCommand() *cobra.Command {
	var a asking
	var on time.Duration
	cmd := &cobra.Command{
		Use:   "trace",
		Short: "Trace events for a time: when each was verified, judged, written and taken by other servers",
		Long: "Switch traces on for a time, or off with --for 0s; without --for, tell whether they are on. While they are on,\n" +
			"`hanse explain` shows an event's way with the time at each station. The last 2048 events are kept.",
		Example: "  hanse trace --for 10m\n  hanse explain '$ZHu2…'",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			var trace admin.Trace
			if cmd.Flags().Changed("for") {
				err = client.Post(cmd.Context(), "/trace", url.Values{"for": {on.String()}}, &trace)
			} else {
				err = client.Get(cmd.Context(), "/trace", nil, &trace)
			}
			if err != nil {
				return err
			}
			if a.json {
				return printJSON(cmd.OutOrStdout(), trace)
			}
			text := "Traces are off."
			if trace.On {
				text = "Traces are on until " + trace.Until.Local().Format(time.DateTime) + "."
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), text)
			return err
		},
	}
	a.flags(cmd)
	cmd.Flags().DurationVar(&on, "for", 0, "switch traces on for this long, at most 24h; 0s: off")
	return cmd
}
