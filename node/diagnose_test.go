package node

import (
	"bytes"
	"net"
	"os"
	"strings"
	"testing"

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
