package node

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hanse/node/doctor"
)

// diagnosed is the doctor's text on a configuration. The name leads nowhere, so only what is ours is of interest.
func diagnosed(t *testing.T, config Config) (*doctor.Report, string) {
	t.Helper()
	config.ServerName = "127.0.0.1:1" // nothing listens there
	report, err := config.Diagnose(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	report.Write(&text, false)
	return report, text.String()
}

func TestTheDoctorLooksAtOurOwnServer(t *testing.T) {
	config := testConfig(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	config.Client.Listen = []string{listener.Addr().String(), "0.0.0.0:0"}
	config.Registration.Tokens = []string{"t"}
	config.Log.Level = "loud"
	config.Database.URL = "postgres://hanse:hunter2@127.0.0.1:1/hanse"
	if err := os.MkdirAll(config.DataDir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(config.DataDir, 0o755); err != nil { // whatever the umask is
		t.Fatal(err)
	}
	if err := os.WriteFile(config.DataDir+"/signing.key", []byte("no key"), 0o600); err != nil {
		t.Fatal(err)
	}
	report, text := diagnosed(t, config)
	if !report.Wrong() {
		t.Error("nothing is wrong")
	}
	for _, want := range []string{
		"[log.level]", "no hanse runs", "other users may enter it", "chmod 700", "restore the file from a backup", "hanse on 127.0.0.1:1",
		"start PostgreSQL", "is taken by another program", "0.0.0.0:0 takes plain HTTP from other machines", "only from outside", "is valid until",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("nothing says %q:\n%s", want, text)
		}
	}
	if strings.Contains(text, "hunter2") {
		t.Errorf("the database's password is shown:\n%s", text)
	}
}

// TestTheDoctorKnowsThatACMEIsHTTPS: the client listener has a certificate then, too.
func TestTheDoctorKnowsThatACMEIsHTTPS(t *testing.T) {
	config := testConfig(t)
	config.Client.Listen, config.Client.Certificate, config.Client.Key = []string{"0.0.0.0:0"}, "", ""
	if _, text := diagnosed(t, config); !strings.Contains(text, "takes plain HTTP") {
		t.Errorf("plain HTTP is not warned of:\n%s", text)
	}
	config.ACME.AcceptTerms, config.ACME.Names = true, []string{"example.org"}
	if _, text := diagnosed(t, config); strings.Contains(text, "plain HTTP") {
		t.Errorf("HTTPS is taken for plain HTTP:\n%s", text)
	}
}

// TestTheDoctorLooksAtWhatACMEGot: each name's certificate.
func TestTheDoctorLooksAtWhatACMEGot(t *testing.T) {
	config := testConfig(t)
	config.Federation.Certificate, config.Federation.Key, config.Federation.WellKnown, config.Client.PublicURL = "", "", "", ""
	config.ACME.AcceptTerms = true
	if err := os.MkdirAll(acmeFolder(config.DataDir), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"good.test": gotFor(t, "good.test", -day, 80*day), "old.test": gotFor(t, "old.test", -80*day, 10*day), "over.test": gotFor(t, "over.test", -90*day, -time.Minute),
		"wrong.test": gotFor(t, "other.test", -day, 80*day), "future.test": gotFor(t, "future.test", day, 80*day), "broken.test": []byte("half a certifi"), "none.test": nil,
	} {
		config.ACME.Names = append(config.ACME.Names, name)
		if data == nil {
			continue
		}
		if err := os.WriteFile(filepath.Join(acmeFolder(config.DataDir), name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	report, text := diagnosed(t, config)
	for want, level := range map[string]doctor.Level{
		"good.test is valid until": doctor.Fine, "old.test should have been renewed": doctor.Warning, "over.test has expired": doctor.Problem,
		"wrong.test is not for that name": doctor.Problem, "future.test is not valid yet": doctor.Problem, "no certificate in": doctor.Warning,
		"no certificate for none.test yet": doctor.Note,
	} {
		found := false
		for _, f := range report.Findings {
			found = found || f.Level == level && f.Area == "TLS" && strings.Contains(f.What, want)
		}
		if !found {
			t.Errorf("nothing says %q, as %s:\n%s", want, level, text)
		}
	}
}

// TestTheDoctorCountsTheWholeDatabase: what SQLite hasn't moved into the file yet is of it too.
func TestTheDoctorCountsTheWholeDatabase(t *testing.T) {
	config := testConfig(t)
	if err := os.MkdirAll(config.DataDir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, size := range map[string]int{"hanse.db": 1 << 20, "hanse.db-wal": 2 << 20} {
		if err := os.WriteFile(filepath.Join(config.DataDir, name), make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, text := diagnosed(t, config); !strings.Contains(text, "SQLite, 3.0 MiB") {
		t.Error(text)
	}
}

func TestTheDoctorFindsARunningNode(t *testing.T) {
	config := testConfig(t)
	n, stop := start(t, config)
	config.Client.Listen = []string{n.address("client.listen")}
	_, text := diagnosed(t, config)
	for _, want := range []string{"hanse runs on this data folder", "is in use, as it should be", "signs with", "SQLite", "they can be used"} {
		if !strings.Contains(text, want) {
			t.Errorf("nothing says %q:\n%s", want, text)
		}
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if _, err := (Config{}).Diagnose(t.Context(), ""); err == nil {
		t.Error("no name is a name")
	}
}
