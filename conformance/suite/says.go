package suite

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"

	. "github.com/onsi/ginkgo/v2"

	"hanse/conformance/spec"
	"hanse/testnet/peer"
)

// Labels by which a run chooses tests, besides those for parts ("s2s:joins"), room versions ("rooms:v11") and sections
// of the specification ("server-server-api#tls", with a dot for each slash).
const (
	// labelNames is for what needs server names that the suite's DNS server answers for.
	labelNames = "needs:names"
	// LabelDeployed is for what may be asked of a deployed server, which the suite has no control over.
	LabelDeployed = "deployed"
	labelVersion  = "rooms:v"
	labelSentence = "sentence:"
)

// Sentence is what a test holds a server to.
type Sentence struct {
	Anchor string // of the section: "server-server-api#tls"
	Text   string
	// Follows tells that no single sentence says it, but that it follows from the section.
	Follows bool
}

var sentences = map[string]Sentence{} // by label

// says names what is tested, as a decorator: a sentence of the specification and where it stands.
func says(anchor, sentence string) Labels { return cite(Sentence{Anchor: anchor, Text: sentence}) }

// follows is says for what no single sentence of the specification says, but what follows from a section, from the
// purpose of an endpoint, or from another document.
func follows(anchor, reason string) Labels {
	return cite(Sentence{Anchor: anchor, Text: reason, Follows: true})
}

func cite(s Sentence) Labels {
	if !spec.Has(s.Anchor) {
		panic("the suite cites a section that the specification doesn't have: " + s.Anchor)
	}
	sum := sha256.Sum256([]byte(s.Anchor + "\n" + s.Text))
	key := labelSentence + hex.EncodeToString(sum[:8])
	sentences[key] = s
	return Labels{SectionLabel(s.Anchor), key}
}

// SectionLabel is the label of a section: labels can't have slashes.
func SectionLabel(anchor string) string { return strings.ReplaceAll(anchor, "/", ".") }

// Sentences are what a test with these labels holds a server to.
func Sentences(labels []string) []Sentence {
	var found []Sentence
	for _, label := range labels {
		if s, ok := sentences[label]; ok && !slices.Contains(found, s) {
			found = append(found, s)
		}
	}
	return found
}

// PlainLabels are the labels that are for people.
func PlainLabels(labels []string) []string {
	var plain []string
	for _, label := range labels {
		if !strings.HasPrefix(label, labelSentence) && !slices.Contains(plain, label) {
			plain = append(plain, label)
		}
	}
	return plain
}

// VersionOf is the room version that a test with these labels is about; "" where it is about none in particular.
func VersionOf(labels []string) string {
	for _, label := range labels {
		if version, ok := strings.CutPrefix(label, labelVersion); ok {
			return version
		}
	}
	return ""
}

// eachVersion makes an entry of a table for every room version, with its label.
func eachVersion() []TableEntry {
	var entries []TableEntry
	for _, version := range peer.Versions() {
		entries = append(entries, Entry("in room version "+string(version), Label(labelVersion+string(version)), version))
	}
	return entries
}
