package bench

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Result is a whole run, as --json prints it.
type Result struct {
	Began   time.Time         `json:"began"`
	Took    float64           `json:"took_seconds"`
	Machine string            `json:"machine"`
	Cores   int               `json:"cores"`
	Seed    uint64            `json:"seed"`
	Quick   bool              `json:"quick,omitempty"`
	Sizes   map[string]string `json:"sizes"`
	Servers []ServerResult    `json:"servers"`
}

// ServerResult is a column of the table.
type ServerResult struct {
	Name    string   `json:"name"`
	Figures []Figure `json:"figures"`
}

type report struct {
	bench  *bench
	result Result
}

func newReport(b *bench, candidates []candidate) *report {
	r := &report{bench: b, result: Result{
		Began: b.began, Machine: machine(), Cores: runtime.GOMAXPROCS(0), Seed: b.Seed, Quick: b.Quick,
		Sizes: map[string]string{
			"members": fmt.Sprint(b.Members), "destinations": fmt.Sprint(b.Destinations), "clients": fmt.Sprint(b.Clients),
			"branches": fmt.Sprint(b.Branches), "missed": fmt.Sprint(b.Missed), "duration": b.Duration.String(),
		},
	}}
	for _, c := range candidates {
		r.result.Servers = append(r.result.Servers, ServerResult{Name: c.name})
	}
	return r
}

// machine is the processor's name and the load by others, as far as the system tells.
func machine() string {
	parts := []string{runtime.GOOS + "/" + runtime.GOARCH}
	cpuinfo, _ := os.ReadFile("/proc/cpuinfo") // not on this system: then without
	for line := range strings.Lines(string(cpuinfo)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			parts = append(parts, strings.TrimSpace(value))
			break
		}
	}
	if load, err := os.ReadFile("/proc/loadavg"); err == nil && len(strings.Fields(string(load))) > 0 {
		parts = append(parts, "load before the run "+strings.Fields(string(load))[0])
	}
	return strings.Join(parts, ", ")
}

func (r *report) add(name string, figures []Figure) {
	for i := range r.result.Servers {
		if r.result.Servers[i].Name == name {
			r.result.Servers[i].Figures = append(r.result.Servers[i].Figures, figures...)
		}
	}
}

func (r *report) voids() int {
	voids := 0
	for _, s := range r.result.Servers {
		for _, f := range s.Figures {
			if f.Void != "" {
				voids++
			}
		}
	}
	return voids
}

func (r *report) write(out io.Writer, asJSON bool) error {
	r.result.Took = time.Since(r.bench.began).Seconds()
	if asJSON {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(r.result)
	}
	var text bytes.Buffer
	fmt.Fprintf(&text, "%s, %d cores, seed %d, %s, took %.0f s\n\n", r.result.Machine, r.result.Cores, r.result.Seed, r.sizes(), r.result.Took)
	r.table(&text)
	r.reasons(&text)
	_, err := out.Write(text.Bytes())
	return err
}

func (r *report) sizes() string {
	var parts []string
	for _, name := range []string{"members", "destinations", "clients", "branches", "missed", "duration"} {
		parts = append(parts, name+" "+r.result.Sizes[name])
	}
	return strings.Join(parts, ", ")
}

// rowKey names a row.
type rowKey struct{ scenario, name string }

// table is a row a figure and a column a server; where there is a floor, the figure's share or multiple of it stands
// beside it, and where there are several servers, how far the first is ahead of the others.
func (r *report) table(to io.Writer) {
	var rows []rowKey
	cells := map[rowKey][]*Figure{}
	for column, s := range r.result.Servers {
		for i, f := range s.Figures {
			key := rowKey{f.Scenario, f.Name}
			if cells[key] == nil {
				cells[key] = make([]*Figure, len(r.result.Servers))
				rows = append(rows, key)
			}
			cells[key][column] = &s.Figures[i]
		}
	}
	slices.SortStableFunc(rows, func(a, b rowKey) int { return order(a.scenario) - order(b.scenario) })
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	header := []string{"scenario", "figure"}
	for _, s := range r.result.Servers {
		header = append(header, s.Name)
	}
	for _, s := range r.result.Servers[1:] {
		header = append(header, r.result.Servers[0].Name+" : "+s.Name)
	}
	fmt.Fprintln(w, strings.Join(append(header, "floor"), "\t"))
	last := ""
	for _, key := range rows {
		scenario := key.scenario
		if scenario == last {
			scenario = ""
		}
		last = key.scenario
		fmt.Fprintln(w, strings.Join(append([]string{scenario, key.name}, r.row(cells[key])...), "\t"))
	}
	_ = w.Flush() // to memory
}

func order(scenario string) int {
	return slices.IndexFunc(Scenarios(), func(s Scenario) bool { return s.Name == scenario })
}

func (r *report) row(figures []*Figure) []string {
	var row []string
	floor := "–"
	for _, f := range figures {
		if f == nil {
			row = append(row, "–")
			continue
		}
		row = append(row, f.text())
		if f.Floor > 0 && floor == "–" {
			floor = number(f.Floor, f.Unit) + ": " + f.FloorOf
		}
	}
	for _, f := range figures[1:] {
		row = append(row, ahead(figures[0], f))
	}
	return append(row, floor)
}

// ahead is how many times better the first is.
func ahead(a, b *Figure) string {
	if a == nil || b == nil || a.Void != "" || b.Void != "" || a.Value <= 0 || b.Value <= 0 || a.Unit == "cores" {
		return "–"
	}
	times := b.Value / a.Value
	if a.More {
		times = a.Value / b.Value
	}
	return fmt.Sprintf("%.3g ×", times)
}

// text is a figure for people.
func (f Figure) text() string {
	if f.Void != "" {
		return "void"
	}
	text := number(f.Value, f.Unit)
	if f.Floor > 0 && f.More {
		text += fmt.Sprintf(" (%.0f %%)", 100*f.Value/f.Floor)
	} else if f.Floor > 0 {
		text += fmt.Sprintf(" (%.2f ×)", f.Value/f.Floor)
	}
	if f.Order != "" && f.More {
		text += ", out of order"
	}
	return text
}

func number(value float64, unit string) string {
	switch {
	case unit == "s" && value > 0 && value < 0.001:
		value, unit = value*1e6, "µs"
	case unit == "s" && value < 1:
		value, unit = value*1000, "ms"
	}
	switch {
	case value >= 100:
		return thousands(int64(value+0.5)) + " " + unit
	case value >= 10:
		return fmt.Sprintf("%.1f %s", value, unit)
	case value == float64(int64(value)):
		return fmt.Sprintf("%.0f %s", value, unit)
	}
	return fmt.Sprintf("%.2f %s", value, unit)
}

func thousands(n int64) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// reasons says why figures are void, and what was out of order.
func (r *report) reasons(to io.Writer) {
	said := map[string]bool{}
	for _, s := range r.result.Servers {
		for _, f := range s.Figures {
			what, reason := "void", f.Void
			if f.Void == "" {
				what, reason = "out of order", f.Order
			}
			key := s.Name + f.Scenario + reason
			if reason == "" || said[key] {
				continue
			}
			said[key] = true
			fmt.Fprintf(to, "\n%s: %s, %s, %s: %s\n", what, s.Name, f.Scenario, f.Name, reason)
		}
	}
}
