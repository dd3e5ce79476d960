package conformance

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// share is one process's part of a run that several make together, each with a server of its own.
type share struct{ part, of int }

// String is what readShare reads.
func (s share) String() string { return fmt.Sprintf("%d/%d", s.part+1, s.of) }

// mine tells whether the nth test of a run is in the share.
func (s share) mine(n int) bool { return n%s.of == s.part }

// readShare reads "1/2"; "" is the whole.
func readShare(text string) (share, error) {
	if text == "" {
		return share{0, 1}, nil
	}
	var s share
	if n, err := fmt.Sscanf(text, "%d/%d", &s.part, &s.of); err != nil || n != 2 || s.part < 1 || s.part > s.of {
		return s, fmt.Errorf("%q is no share of a run: 1/2", text)
	}
	s.part--
	return s, nil
}

// runShares runs the suite in several processes: this program with the same arguments and some more, which win.
func (o Options) runShares(ctx context.Context) (Report, error) {
	program, err := os.Executable()
	if err != nil {
		return Report{}, err
	}
	folder, err := os.MkdirTemp("", "hanse-conformance-shares-")
	if err != nil {
		return Report{}, err
	}
	defer os.RemoveAll(folder)
	fmt.Fprintf(o.Progress, "Starting %s in %d processes … Seed %d.\n", o.subject(), o.Processes, o.Seed)
	all, stop := context.WithCancelCause(ctx) // one that can't be done stops the others
	defer stop(nil)
	reports := make([]Report, o.Processes)
	var progress sync.Mutex
	var running sync.WaitGroup
	for i := range o.Processes {
		running.Go(func() {
			file := filepath.Join(folder, fmt.Sprintf("%d.json", i))
			arguments := append(os.Args[1:len(os.Args):len(os.Args)], "--processes=1", "--share="+share{i, o.Processes}.String(),
				"--json="+file, "--junit=", fmt.Sprintf("--seed=%d", o.Seed))
			if o.Folder != "" {
				arguments = append(arguments, "--dir="+filepath.Join(o.Folder, fmt.Sprintf("share%d", i+1)))
			}
			err := runShare(all, program, arguments, func(line string) {
				progress.Lock()
				defer progress.Unlock()
				fmt.Fprintln(o.Progress, line)
			})
			report, unread := readReport(file)
			switch {
			case unread == nil: // what went wrong is in it
				reports[i] = report
			case err != nil:
				stop(err)
			default:
				stop(unread)
			}
		})
	}
	running.Wait()
	cause := context.Cause(all)
	if reports = slices.DeleteFunc(reports, func(r Report) bool { return len(r.Tests) == 0 }); len(reports) == 0 {
		return Report{}, cause
	}
	whole := merge(reports)
	switch {
	case ctx.Err() != nil:
		whole.stopped()
	case cause != nil:
		whole.Trouble = cause.Error()
	}
	return whole, nil
}

// runShare runs one process to its end. Its tests' failures are in its report; its error is for one without a report.
func runShare(ctx context.Context, program string, arguments []string, tell func(line string)) error {
	cmd := exec.CommandContext(ctx, program, arguments...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) } // it ends its server itself
	cmd.WaitDelay = 2 * time.Minute
	output, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	var said []string
	for lines := bufio.NewScanner(output); lines.Scan(); {
		if line := lines.Text(); strings.HasPrefix(line, "hanse: ") || len(said) > 0 {
			said = append(said, strings.TrimPrefix(line, "hanse: "))
		} else if strings.HasSuffix(line, ".") || strings.HasSuffix(line, "F") || strings.HasSuffix(line, "-") {
			tell(line)
		}
	}
	err = cmd.Wait()
	if len(said) > 0 {
		return errors.New(strings.Join(said, "\n"))
	}
	return err
}

func readReport(file string) (Report, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return Report{}, err
	}
	var report Report
	return report, json.Unmarshal(text, &report)
}

// merge makes one report of those of a run's processes, of which there is at least one.
func merge(reports []Report) Report {
	whole := reports[0]
	whole.Tests, whole.Totals = nil, Totals{}
	for _, report := range reports {
		for _, test := range report.Tests {
			whole.Totals.count(test.Outcome)
			whole.Tests = append(whole.Tests, test)
		}
		whole.Seconds = max(whole.Seconds, report.Seconds)
		if report.Trouble != "" {
			whole.Trouble = report.Trouble
		}
	}
	return whole
}
