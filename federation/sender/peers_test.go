package sender

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"hanse/federation"
	"hanse/federation/client"
	"hanse/federation/id"
)

func TestWhatIsToldOfAServer(t *testing.T) {
	bubble(t, Limits{MinBackoff: time.Minute}, func(t *testing.T, s *Sender, b *box, w *wire) {
		if p := s.Peer(peer); p.Server != peer || !p.Reachable() || !p.LastTry.IsZero() {
			t.Errorf("nothing is known: %+v", p)
		}
		w.results = federation.PDUResults{"$bad": {Error: "I don't like it"}, "$good": {}}
		b.position = map[id.ServerName]int64{peer: 7}
		b.put(peer, 1)
		s.Wake(peer)
		sleep(time.Second)
		p := s.Peer(peer)
		if !p.Reachable() || p.LastTaken.IsZero() || len(p.Refused) != 1 || p.Refused[0].Event != "$bad" || p.Refused[0].GivenUp {
			t.Errorf("after a transaction: %+v", p)
		}
		if at, known := s.TakenAt(peer, 7); !known || !at.Equal(p.LastTaken) {
			t.Errorf("taken at %v, %v", at, known)
		}
		if _, known := s.TakenAt(peer, 8); known {
			t.Error("what was not sent was taken")
		}
		failed := time.Now()
		w.says(&client.Error{Server: peer, Endpoint: "send", Stage: client.StageTLS, Temporary: true, Err: errors.New("certificate")})
		b.put(peer, 2)
		s.Wake(peer)
		sleep(5 * time.Minute)
		p = s.Peer(peer)
		if p.Reachable() || p.Kind != "TLS" || p.Failures < 2 || !p.Since.Equal(failed) || !p.Until.After(time.Now()) || !p.Waiting {
			t.Errorf("while it fails: %+v", p)
		}
		if saved := b.backoff[peer]; saved.Kind != "TLS" || !saved.Since.Equal(failed) {
			t.Errorf("saved for the next start: %+v", saved)
		}
		if all := s.Peers(); len(all) != 1 || all[0].Server != peer {
			t.Errorf("%+v", all)
		}
	})
}

func TestRecordsAreBounded(t *testing.T) {
	s := New(Config{Origin: self, Client: &wire{}, Outbox: newBox()})
	for i := range maxRecords + 10 {
		server := id.ServerName(fmt.Sprintf("s%d.example", i))
		times := 1
		if i >= maxRecords {
			times = 2 * recordedTransactions
		}
		for range times {
			s.recordTaken(server, Batch{Upto: 1, PDUs: []json.RawMessage{json.RawMessage("{}")}}, federation.PDUResults{"$e": {Error: "no"}})
		}
	}
	if len(s.records) > maxRecords {
		t.Errorf("%d servers are remembered", len(s.records))
	}
	for server, r := range s.records {
		if len(r.taken) > recordedTransactions || len(r.refused) > recordedRefusals {
			t.Fatalf("%s: %d transactions, %d refusals", server, len(r.taken), len(r.refused))
		}
	}
}

func TestKindsOfFailures(t *testing.T) {
	for want, err := range map[string]error{
		"DNS": &client.Error{Stage: client.StageResolve}, "TCP": &client.Error{Stage: client.StageConnect, Timeout: true},
		"TLS": &client.Error{Stage: client.StageTLS}, "slow": &client.Error{Stage: client.StageResponse, Timeout: true},
		"HTTP": &client.Error{Stage: client.StageResponse}, "signature": &client.Error{Status: 401}, "HTTP 502": &client.Error{Status: 502},
		"other": errors.New("disk"),
	} {
		if got := kindOf(err); got != want {
			t.Errorf("%v: %s, want %s", err, got, want)
		}
	}
}
