package node

import (
	"strings"

	"hanse/federation/id"
)

// unreachable says why nobody could ever find a server of that name, which the grammar of server names allows all the same; "" if that
// isn't known. It is for names that somebody chooses: those of others are taken as they come.
//
// spec:appendices#server-name
func unreachable(name id.ServerName) (reason string) {
	if port, given := name.Port(); given && strings.Trim(port, "0") == "" {
		return "nobody can be at port 0"
	}
	if _, literal := name.Literal(); literal {
		return ""
	}
	for label := range strings.SplitSeq(name.Host(), ".") {
		switch {
		case label == "":
			return "a part between dots is empty"
		case len(label) > maxLabel:
			return "a part between dots has more than 63 letters, which DNS doesn't have"
		case strings.HasPrefix(label, "-") || strings.HasSuffix(label, "-"):
			return "a part between dots begins or ends with a hyphen, which no host's name and no certificate does"
		}
	}
	return ""
}

// maxLabel is how long a part of a DNS name may be (RFC 1035, section 2.3.4).
const maxLabel = 63
