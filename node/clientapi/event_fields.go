package clientapi

import (
	"encoding/json"
	"strings"

	"hanse/federation/exactjson"
)

// fieldPaths reads event_fields: each a path of names with dots between them, in which `\\` stands before a dot or
// backslash that is part of a name.
//
// spec:client-server-api#post_matrixclientv3useruseridfilter
func fieldPaths(fields []string) [][]string {
	paths := make([][]string, 0, len(fields))
	for _, field := range fields[:min(len(fields), maxEventFields)] {
		var path []string
		var name strings.Builder
		escaped := false
		for _, r := range field {
			switch {
			case !escaped && r == '\\':
				escaped = true
				continue
			case !escaped && r == '.':
				path = append(path, name.String())
				name.Reset()
			case escaped && r != '.' && r != '\\':
				name.WriteRune('\\')
				fallthrough
			default:
				name.WriteRune(r)
			}
			escaped = false
		}
		if path = append(path, name.String()); len(path) <= maxFieldDepth {
			paths = append(paths, path)
		}
	}
	return paths
}

// selectFields leaves only the fields at the paths in a JSON object.
func selectFields(raw json.RawMessage, paths [][]string) (json.RawMessage, error) {
	var object map[string]json.RawMessage
	if err := exactjson.Unmarshal(raw, &object); err != nil {
		return nil, err
	}
	kept := map[string]json.RawMessage{}
	deeper := map[string][][]string{}
	for _, path := range paths {
		value, there := object[path[0]]
		switch {
		case !there:
		case len(path) == 1:
			kept[path[0]] = value
		default:
			deeper[path[0]] = append(deeper[path[0]], path[1:])
		}
	}
	for name, inner := range deeper {
		if _, whole := kept[name]; whole {
			continue
		}
		if selected, err := selectFields(object[name], inner); err == nil && string(selected) != "{}" {
			kept[name] = selected
		}
	}
	return marshal(kept)
}
