package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"hanse/federation/id"
)

// newPassword is where an account's new password comes from: from the terminal, from standard input, or made up.
type newPassword struct {
	stdin, generate bool
	made            string // the password that was made up
}

// maxPasswordInput bounds what is read of standard input, in bytes: more than the longest password.
const maxPasswordInput = 4096

// generatedLength is the characters, of 32, of a password that is made up: 100 bits.
const generatedLength = 20

func (p *newPassword) flags(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&p.stdin, "password-stdin", false, "read the password from standard input, a line")
	cmd.Flags().BoolVar(&p.generate, "generate", false, "make up a password and print it")
}

// get gets the password for a user.
func (p *newPassword) get(cmd *cobra.Command, user id.UserID) (string, error) {
	switch {
	case p.stdin && p.generate:
		return "", errors.New("give --password-stdin or --generate, not both")
	case p.generate:
		p.made = strings.ToLower(rand.Text()[:generatedLength])
		return p.made, nil
	case p.stdin:
		return passwordLine(cmd.InOrStdin())
	}
	terminal, ok := cmd.InOrStdin().(*os.File)
	if !ok || !term.IsTerminal(int(terminal.Fd())) {
		return "", errors.New("there is no terminal to ask for the password on: give it by --password-stdin, or let one be made up by --generate")
	}
	first, err := askHidden(cmd.Context(), terminal, cmd.ErrOrStderr(), fmt.Sprintf("New password for %s: ", user))
	if err != nil {
		return "", err
	}
	second, err := askHidden(cmd.Context(), terminal, cmd.ErrOrStderr(), "The same again: ")
	switch {
	case err != nil:
		return "", err
	case first != second:
		return "", errors.New("the two passwords are not the same; nothing is changed")
	case first == "":
		return "", errors.New("the password is empty; nothing is changed")
	}
	return first, nil
}

// passwordLine reads a password that is all of r but for the line's end.
func passwordLine(r io.Reader) (string, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxPasswordInput+1))
	if err != nil {
		return "", fmt.Errorf("--password-stdin: %w", err)
	}
	line := strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r")
	switch {
	case line == "":
		return "", errors.New("--password-stdin: standard input is empty")
	case strings.ContainsAny(line, "\r\n"):
		return "", errors.New("--password-stdin: standard input has more than one line")
	}
	return line, nil
}

// askHidden asks for a line that the terminal doesn't show. Where ctx ends first, the terminal is left as it was.
func askHidden(ctx context.Context, terminal *os.File, out io.Writer, prompt string) (string, error) {
	before, err := term.GetState(int(terminal.Fd()))
	if err != nil {
		return "", err
	}
	fmt.Fprint(out, prompt)
	defer fmt.Fprintln(out)
	type answer struct {
		line []byte
		err  error
	}
	answers := make(chan answer, 1)
	go func() {
		line, err := term.ReadPassword(int(terminal.Fd()))
		answers <- answer{line, err}
	}()
	select {
	case a := <-answers:
		return string(a.line), a.err
	case <-ctx.Done():
		return "", errors.Join(errors.New("given up; nothing is changed"), term.Restore(int(terminal.Fd()), before))
	}
}
