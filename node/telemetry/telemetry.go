// Package telemetry is what an operator's tools read of a node: its metrics registry, health and readiness, profiles, the journal of refusals, the
// traces of events, and the log, within the bounds of [Seldom]. It is not where anything is measured: each package counts its own.
package telemetry

import (
	"context"
	"errors"
	"net/http"
	"net/http/pprof"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Telemetry is one node's. Safe for concurrent use.
type Telemetry struct {
	Registry *prometheus.Registry
	Journal  Journal // what was refused lately
	Traces   Traces  // the ways of events, while that is switched on
	// Check tells, for /ready, why the node can't do its work although it runs; nil if nothing is wrong, or there is nobody to ask. It
	// is set before a Handler answers, and is asked by several at once.
	Check    func(context.Context) error
	running  atomic.Bool
	requests *prometheus.HistogramVec
}

// New makes a node's own registry, with Go's and the process's metrics in it. version names the build.
func New(version string) *Telemetry {
	t := &Telemetry{
		Registry: prometheus.NewRegistry(),
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "hanse_http_request_seconds", Help: "How long inbound requests took, by API, method and class of status.",
			Buckets: []float64{.001, .005, .02, .1, .5, 2, 10, 60},
		}, []string{"api", "method", "status"}),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "hanse_build_info", Help: "1; the label is the version.", ConstLabels: prometheus.Labels{"version": version},
	})
	build.Set(1)
	ready := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "hanse_ready", Help: "1: the server can do its work; 0: /ready and the log say why not."}, t.ready)
	t.Registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), build, ready, t.requests)
	return t
}

// ready is what /ready says, as a number.
func (t *Telemetry) ready() float64 {
	ctx, cancel := context.WithTimeout(context.Background(), readyTimeout)
	defer cancel()
	if t.unready(ctx) != nil {
		return 0
	}
	return 1
}

// readyTimeout bounds what a look at the metrics waits for that.
const readyTimeout = time.Second

// SetReady tells whether the node runs: from when its listeners answer until it is told to stop.
func (t *Telemetry) SetReady(ready bool) { t.running.Store(ready) }

// unready tells why the node can't do its work; nil: it can.
func (t *Telemetry) unready(ctx context.Context) error {
	if !t.running.Load() {
		return errors.New("the server starts or stops")
	}
	if t.Check == nil {
		return nil
	}
	return t.Check(ctx)
}

// Handler serves /health (the process lives), /ready (it can do its work), /metrics and /debug/pprof/.
func (t *Telemetry) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /ready", func(w http.ResponseWriter, r *http.Request) {
		if err := t.unready(r.Context()); err != nil {
			answer(w, http.StatusServiceUnavailable, "not ready: "+err.Error())
			return
		}
		answer(w, http.StatusOK, "ready")
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(t.Registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return mux
}

func answer(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text + "\n")) // a probe that went away asks again
}

// Measure counts the requests of one API ("client", "federation") and how long they took.
func (t *Telemetry) Measure(api string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began, recorder := time.Now(), &statusRecorder{ResponseWriter: w, status: http.StatusOK}
		defer func() {
			class := strconv.Itoa(recorder.status/100) + "xx"
			t.requests.WithLabelValues(api, method(r.Method), class).Observe(time.Since(began).Seconds())
		}()
		next.ServeHTTP(recorder, r)
	})
}

// method keeps the label's values a closed set.
func method(m string) string {
	switch m {
	case http.MethodGet, http.MethodPut, http.MethodPost, http.MethodDelete, http.MethodOptions, http.MethodHead:
		return m
	}
	return "other"
}

type statusRecorder struct {
	http.ResponseWriter
	status int
}

func (r *statusRecorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.ResponseController reach the connection.
func (r *statusRecorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
