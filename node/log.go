package node

import (
	"io"
	"log/slog"
	"runtime/debug"
)

var logLevels = map[string]slog.Level{
	"error": slog.LevelError, "warn": slog.LevelWarn, "info": slog.LevelInfo, "debug": slog.LevelDebug,
}

// LogHandler writes the log to w as the configuration says.
func (c Config) LogHandler(w io.Writer) slog.Handler {
	c = c.withDefaults()
	options := &slog.HandlerOptions{Level: logLevels[c.Log.Level]}
	if c.Log.Format == "json" {
		return slog.NewJSONHandler(w, options)
	}
	return slog.NewTextHandler(w, options)
}

// Version is this build's version: the module's, or the commit's where it was built from a checkout.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	for _, setting := range info.Settings {
		if setting.Key == "vcs.revision" && len(setting.Value) >= 12 {
			return setting.Value[:12]
		}
	}
	return "development"
}
