// Package adapter starts and stops any homeserver as a process: by a command of its own, or by the adapter contract
// (orders in the environment, ready when /_matrix/client/versions answers). It knows nothing of what runs inside.
package adapter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode"

	"github.com/go-resty/resty/v2"
)

// Bounds of a process's life.
const (
	// DefaultReadyTimeout is how long a server may take to answer after its start. Synapse makes its database in this time.
	DefaultReadyTimeout = 60 * time.Second
	// DefaultStopTimeout is how long a server may take to end after SIGTERM before it is killed.
	DefaultStopTimeout = 20 * time.Second
	// probeInterval is the pause between two questions whether a server is ready.
	probeInterval = 20 * time.Millisecond
	// logTailBytes is how much of a server's log an error shows.
	logTailBytes = 2 << 10
)

// Command says how a server is started.
type Command struct {
	Name         string   // for people: whose process it is
	Args         []string // the program and its arguments
	Env          []string // besides this process's own environment, as "KEY=value"
	LogFile      string   // its output is appended here
	ClientURL    string   // ready when ClientURL/_matrix/client/versions answers 200
	ReadyTimeout time.Duration
	StopTimeout  time.Duration
	// LiveByStdin hands the process a pipe as its standard input, which closes when this process ends, however it ends.
	LiveByStdin bool
}

// Process is a running server. Its methods are safe for concurrent use.
type Process struct {
	command Command
	cmd     *exec.Cmd
	stdin   io.WriteCloser
	ended   chan struct{}
	waitErr error // set before ended is closed
	once    sync.Once
}

// Start starts the server and waits until it is ready, ends, or ctx ends. Its log's last lines are in the error.
func Start(ctx context.Context, command Command) (*Process, error) {
	if command.ReadyTimeout == 0 {
		command.ReadyTimeout = DefaultReadyTimeout
	}
	if command.StopTimeout == 0 {
		command.StopTimeout = DefaultStopTimeout
	}
	if err := os.MkdirAll(filepath.Dir(command.LogFile), 0o700); err != nil {
		return nil, err
	}
	log, err := os.OpenFile(command.LogFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p := &Process{command: command, cmd: exec.Command(command.Args[0], command.Args[1:]...), ended: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), command.Env...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	ownGroup(p.cmd) // a Ctrl-C in the terminal reaches this process alone, which stops its servers in order
	if command.LiveByStdin {
		if p.stdin, err = p.cmd.StdinPipe(); err != nil {
			return nil, err
		}
	}
	if err := p.cmd.Start(); err != nil {
		if errors.Is(err, syscall.ENOEXEC) || errors.Is(err, fs.ErrNotExist) && Check(command.Args[0]) == nil {
			err = fmt.Errorf("%w: does its first line name an interpreter that is there, as #!/bin/sh does?", err)
		}
		return nil, fmt.Errorf("%s: start: %w", command.Name, err)
	}
	go func() {
		p.waitErr = p.cmd.Wait()
		killGroup(p.cmd.Process) // what an adapter started and didn't wait for
		close(p.ended)
	}()
	if err := p.ready(ctx); err != nil {
		p.Kill()
		return nil, fmt.Errorf("%s: %w; its log is %s%s", command.Name, err, command.LogFile, tail(command.LogFile))
	}
	return p, nil
}

func (p *Process) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, p.command.ReadyTimeout)
	defer cancel()
	client := resty.New().SetTimeout(2 * time.Second)
	defer client.GetClient().CloseIdleConnections()
	question := p.command.ClientURL + "/_matrix/client/versions"
	said := "nothing" // to the last question that was answered or refused
	for {
		response, err := client.R().SetContext(ctx).Get(question)
		switch {
		case err == nil && response.StatusCode() == http.StatusOK:
			return nil
		case err == nil:
			said = response.Status()
		case ctx.Err() == nil:
			said = err.Error()
			if failure, ok := errors.AsType[*url.Error](err); ok {
				said = failure.Err.Error()
			}
		}
		select {
		case <-p.ended:
			return fmt.Errorf("ended at its start (%v)", p.waitErr)
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				return fmt.Errorf("stopped while it started: %w", ctx.Err())
			}
			return fmt.Errorf("was not ready after %s: GET %s must answer 200, and the last outcome was: %s", p.command.ReadyTimeout, question, said)
		case <-time.After(probeInterval):
		}
	}
}

// Stop asks the server to end (SIGTERM) and waits; after its stop timeout it is killed, which is an error.
func (p *Process) Stop() error {
	p.closeStdin()
	terminate(p.cmd.Process)
	select {
	case <-p.ended:
		if p.waitErr != nil {
			return fmt.Errorf("%s: ended with %w; its log is %s%s", p.command.Name, p.waitErr, p.command.LogFile, tail(p.command.LogFile))
		}
		return nil
	case <-time.After(p.command.StopTimeout):
		p.Kill()
		return fmt.Errorf("%s: did not end within %s and was killed; its log is %s", p.command.Name, p.command.StopTimeout, p.command.LogFile)
	}
}

// Kill ends the server at once (SIGKILL) and waits until it is gone.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // already gone is as good
	p.closeStdin()
	<-p.ended
}

func (p *Process) closeStdin() {
	if p.stdin != nil {
		p.once.Do(func() { _ = p.stdin.Close() })
	}
}

// Order writes a line to the server's standard input, of one that was started with LiveByStdin.
func (p *Process) Order(line string) error {
	if p.stdin == nil {
		return fmt.Errorf("%s: takes no orders", p.command.Name)
	}
	_, err := io.WriteString(p.stdin, line+"\n")
	return err
}

// Ended is closed when the server is gone.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// Err is how the server ended: nil where with exit status 0. It may be asked once Ended is closed.
func (p *Process) Err() error { return p.waitErr }

// PID is the process's number.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// LogFile is where the server's output goes.
func (p *Process) LogFile() string { return p.command.LogFile }

// ClientURL is where the client-server API answers.
func (p *Process) ClientURL() string { return p.command.ClientURL }

// tail is the end of a log, for an error.
func tail(file string) string {
	text := LogTail(file, 0, logTailBytes)
	if text == "" {
		return ""
	}
	return ", which ends with:\n" + text
}

// LogTail is the end of a log for people, at most so many bytes of it and nothing before an offset: whole lines, without
// what a terminal would take for orders.
func LogTail(file string, from int64, most int) string {
	data, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	data = data[min(from, int64(len(data))):]
	if len(data) > most {
		data = data[len(data)-most:]
		if _, rest, ok := bytes.Cut(data, []byte("\n")); ok {
			data = rest
		}
	}
	return strings.TrimRight(strings.Map(printable, strings.ToValidUTF8(string(data), "?")), "\n")
}

func printable(r rune) rune {
	if r != '\n' && r != '\t' && !unicode.IsPrint(r) {
		return '?'
	}
	return r
}
