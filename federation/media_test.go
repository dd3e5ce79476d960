package federation_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"hanse/federation"
)

const mediaType = `multipart/mixed; boundary="b"`

// wellFormed is an answer with media as another server might write it.
const wellFormed = "--b\r\nContent-Type: application/json\r\n\r\n{}\r\n--b\r\nContent-Type: image/png\r\n" +
	"Content-Disposition: inline; filename=a.png\r\n\r\nthe\r\nbytes\r\n--b--\r\n"

func TestMediaIsReadAsItWasWritten(t *testing.T) {
	for _, content := range []string{"", "x", "--b", "a\r\n--c\r\n", strings.Repeat("0123456789", 100_000)} {
		var wire bytes.Buffer
		sent := federation.MediaPart{ContentType: "text/plain", Disposition: "attachment"}
		if err := federation.WriteMedia(&wire, "b0undary", sent, strings.NewReader(content)); err != nil {
			t.Fatal(err)
		}
		part, body, err := federation.ReadMedia(federation.MediaContentType("b0undary"), iotest.HalfReader(&wire))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(body)
		if err != nil || string(got) != content || part != sent {
			t.Errorf("%d bytes and %+v (%v), want %d bytes and %+v", len(got), part, err, len(content), sent)
		}
	}
}

func TestMediaElsewhere(t *testing.T) {
	var wire bytes.Buffer
	sent := federation.MediaPart{Location: "https://cdn.example/x"}
	if err := federation.WriteMedia(&wire, "b", sent, nil); err != nil {
		t.Fatal(err)
	}
	if part, _, err := federation.ReadMedia(mediaType, &wire); err != nil || part != sent {
		t.Errorf("%+v (%v)", part, err)
	}
}

// TestMediaIsWrittenInOrder: Synapse 1.163 takes the first header of the second part for its Content-Type.
func TestMediaIsWrittenInOrder(t *testing.T) {
	var wire bytes.Buffer
	if err := federation.WriteMedia(&wire, "b", federation.MediaPart{ContentType: "image/png", Disposition: "inline; filename=a.png"},
		strings.NewReader("the\r\nbytes")); err != nil {
		t.Fatal(err)
	}
	if wire.String() != wellFormed {
		t.Errorf("got %q, want %q", wire.String(), wellFormed)
	}
	for _, part := range []federation.MediaPart{{ContentType: "a\r\nb"}, {Disposition: "\n"}, {Location: "https://x/\r"}} {
		if err := federation.WriteMedia(io.Discard, "b", part, nil); err == nil {
			t.Errorf("%+v was written", part)
		}
	}
	if err := federation.WriteMedia(io.Discard, "", federation.MediaPart{}, nil); err == nil {
		t.Error("an empty boundary was taken")
	}
}

func TestMediaAsOthersWriteIt(t *testing.T) {
	for name, text := range map[string]string{
		"plain":        wellFormed,
		"a preamble":   "to be ignored\r\n" + wellFormed,
		"leading CRLF": "\r\n" + wellFormed,
	} {
		part, body, err := federation.ReadMedia(mediaType, strings.NewReader(text))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got, err := io.ReadAll(body); err != nil || string(got) != "the\r\nbytes" || part.ContentType != "image/png" {
			t.Errorf("%s: %q, %+v, %v", name, got, part, err)
		}
	}
}

// endless repeats a text for ever.
type endless struct{ text string }

func (e endless) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		n += copy(p[n:], e.text)
	}
	return n, nil
}

func TestMediaWithoutEnd(t *testing.T) {
	for name, answer := range map[string]io.Reader{
		"preamble":      endless{"nothing\r\n"},
		"preamble line": endless{"nothing"},
		"header":        io.MultiReader(strings.NewReader("--b\r\n"), endless{"X-Nothing: 1\r\n"}),
		"header line":   io.MultiReader(strings.NewReader("--b\r\nX-Nothing: "), endless{"a"}),
		"metadata":      io.MultiReader(strings.NewReader("--b\r\n\r\n"), endless{"{}"}),
		"second header": io.MultiReader(strings.NewReader("--b\r\n\r\n{}\r\n--b\r\n"), endless{"X-Nothing: 1\r\n"}),
	} {
		counted := &counting{from: answer}
		if _, _, err := federation.ReadMedia(mediaType, counted); err == nil {
			t.Errorf("%s: was taken", name)
		}
		if counted.read > federation.MaxMediaHead {
			t.Errorf("%s: %d bytes were read", name, counted.read)
		}
	}
}

type counting struct {
	from io.Reader
	read int
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.from.Read(p)
	c.read += n
	return n, err
}

func TestMediaThatIsNone(t *testing.T) {
	for name, answer := range map[string][2]string{
		"not multipart":      {"text/html", wellFormed},
		"no type":            {"", wellFormed},
		"no boundary":        {"multipart/mixed", wellFormed},
		"long boundary":      {"multipart/mixed; boundary=" + strings.Repeat("b", 300), wellFormed},
		"another's boundary": {`multipart/mixed; boundary="c"`, wellFormed},
		"metadata no JSON":   {mediaType, strings.Replace(wellFormed, "{}", "<>", 1)},
		"metadata a list":    {mediaType, strings.Replace(wellFormed, "{}", "[]", 1)},
		"one part":           {mediaType, "--b\r\n\r\n{}\r\n--b--\r\n"},
		"cut off":            {mediaType, wellFormed[:40]},
		"nothing":            {mediaType, ""},
	} {
		if _, _, err := federation.ReadMedia(answer[0], strings.NewReader(answer[1])); err == nil || err == io.EOF {
			t.Errorf("%s: %v", name, err)
		}
	}
	for cut := range len(wellFormed) {
		_, body, err := federation.ReadMedia(mediaType, strings.NewReader(wellFormed[:cut]))
		if err != nil {
			continue
		}
		if _, err := io.ReadAll(body); err == nil && cut < strings.Index(wellFormed, "\r\n--b--")+len("\r\n--b") {
			t.Errorf("cut off after %d bytes and taken as whole", cut)
		}
	}
}

func FuzzReadMedia(f *testing.F) {
	f.Add(mediaType, []byte(wellFormed))
	f.Add(`multipart/mixed; boundary=b`, []byte("--b\r\n\r\n{}\r\n--b\r\nLocation: https://x/\r\n\r\n\r\n--b--"))
	f.Add("", []byte("--b"))
	f.Fuzz(func(t *testing.T, contentType string, wire []byte) {
		part, body, err := federation.ReadMedia(contentType, bytes.NewReader(wire))
		if err != nil {
			return
		}
		content, err := io.ReadAll(body)
		if len(content) > len(wire) {
			t.Fatalf("%d bytes came out of %d", len(content), len(wire))
		}
		if errors.Is(err, io.EOF) {
			t.Fatal("an end that is no end")
		}
		if err != nil {
			return
		}
		const boundary = "a-boundary-that-the-fuzzer-does-not-find"
		if bytes.Contains(content, []byte(boundary)) || strings.ContainsAny(part.ContentType+part.Disposition+part.Location, "\r\n") {
			return
		}
		var again bytes.Buffer
		if err := federation.WriteMedia(&again, boundary, part, bytes.NewReader(content)); err != nil {
			t.Fatal(err)
		}
		_, body, err = federation.ReadMedia(federation.MediaContentType(boundary), &again)
		if err != nil {
			t.Fatalf("what was written is not read: %v", err)
		}
		if second, err := io.ReadAll(body); err != nil || !bytes.Equal(second, content) {
			t.Fatalf("%d bytes became %d: %v", len(content), len(second), err)
		}
	})
}
