package clientapi

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestUIASessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newUIASessions()
		session := s.open(uiaPurpose{1})
		s.complete(session.id, stageRegistrationToken)
		found, ok := s.find(session.id)
		if !ok || found.purpose != (uiaPurpose{1}) || len(found.completed) != 1 {
			t.Errorf("%+v", found)
		}
		s.complete(session.id, stageRegistrationToken)
		if found, _ := s.find(session.id); len(found.completed) != 1 {
			t.Error("a stage is completed twice")
		}
		time.Sleep(uiaSessionLife + time.Second)
		if _, ok := s.find(session.id); ok {
			t.Error("a session outlives its time")
		}
		time.Sleep(uiaSweepEvery)
		synctest.Wait()
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.sessions) > 0 || s.sweeping {
			t.Errorf("%d sessions are kept that have expired, with what they know", len(s.sessions))
		}
	})
}

func TestUIASessionsAreBounded(t *testing.T) {
	s := newUIASessions()
	first := s.open(uiaPurpose{})
	var last uiaSession
	for range maxUIASessions + 10 {
		last = s.open(uiaPurpose{})
	}
	if len(s.sessions) > maxUIASessions {
		t.Errorf("%d sessions", len(s.sessions))
	}
	if _, ok := s.find(first.id); ok {
		t.Error("the oldest is still there")
	}
	if _, ok := s.find(last.id); !ok {
		t.Error("the newest is gone")
	}
}

func TestNonces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNonces()
		nonce, err := n.issue()
		if err != nil || !n.take(nonce) || n.take(nonce) || n.take("nonsense") {
			t.Errorf("a nonce is good once: %v", err)
		}
		old, _ := n.issue()
		time.Sleep(nonceLife + time.Second)
		if n.take(old) {
			t.Error("a nonce outlives its time")
		}
		for range maxNonces {
			if _, err := n.issue(); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := n.issue(); err == nil {
			t.Error("nonces are not bounded")
		}
	})
}
