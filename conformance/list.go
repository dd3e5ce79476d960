package conformance

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"

	"hanse/conformance/suite"
	"hanse/testnet/peer"
)

// preview is the suite's tests, without running one. Afterwards the suite can't be run: what Ginkgo keeps of it lacks the outermost nodes.
func preview(filter string, focus []string) types.SpecReports {
	specs, reporter := ginkgo.GinkgoConfiguration()
	specs.LabelFilter, specs.FocusStrings, specs.RandomSeed = filter, focus, 1 // one order
	return ginkgo.PreviewSpecs("Conformance", specs, reporter).SpecReports.WithLeafNodeType(types.NodeTypeIt)
}

// errNothingMatches says that a run would have no test.
var errNothingMatches = errors.New("nothing matches the labels, the focus and the room versions; --list prints the tests with their labels")

// List prints the tests that a run with these options has, with their labels.
func List(o Options) error {
	filter, err := o.filter()
	if err != nil {
		return err
	}
	n := 0
	for _, spec := range preview(filter, o.Focus) {
		if spec.State == types.SpecStateSkipped {
			continue
		}
		n++
		if _, err := fmt.Fprintf(o.Out, "%s\n    %s\n", spec.FullText(), strings.Join(suite.PlainLabels(spec.Labels()), ", ")); err != nil {
			return err
		}
	}
	if n == 0 {
		return errNothingMatches
	}
	_, err = fmt.Fprintf(o.Out, "%d tests\n", n)
	return err
}

func versionNames() []string {
	var names []string
	for _, version := range peer.Versions() {
		names = append(names, string(version))
	}
	return names
}

func knownVersion(version string) bool { return slices.Contains(versionNames(), version) }
