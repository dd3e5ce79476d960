package federation

import (
	"bytes"
	"encoding/json"
	"errors"

	"hanse/federation/exactjson"
)

// EncodePair makes the [200, answer] of the v1 forms of send_join, send_leave and invite from the encoded answer.
func EncodePair(answer []byte) []byte {
	dst := append(make([]byte, 0, len(answer)+6), "[200,"...)
	return append(append(dst, answer...), ']')
}

// DecodePair takes the answer out of a [200, answer]. Some servers send the answer bare; that is understood too.
func DecodePair(data []byte) (json.RawMessage, error) {
	if data = bytes.TrimSpace(data); len(data) > 0 && data[0] == '{' {
		return data, nil
	}
	var pair []json.RawMessage
	if err := exactjson.Unmarshal(data, &pair); err != nil {
		return nil, err
	}
	if len(pair) != 2 {
		return nil, errors.New("the answer is not a status and an object")
	}
	return pair[1], nil
}
