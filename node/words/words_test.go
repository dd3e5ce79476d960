package words

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestWords(t *testing.T) {
	for text, want := range map[string][]string{
		"":                      nil,
		"?! … --":               nil,
		"The quick, brown FOX":  {"the", "quick", "brown", "fox"},
		"snake_case don't":      {"snake", "case", "don", "t"},
		"Straße ÉTÉ 42":         {"straße", "été", "42"},
		"東京tower":               {"東", "京", "tower"},
		"bad\xff\x00bytes":      {"bad", "bytes"},
		strings.Repeat("a", 90): {strings.Repeat("a", maxBytes)},
	} {
		if got := Split(text); !slices.Equal(got, want) {
			t.Errorf("%q: %q, not %q", text, got, want)
		}
	}
	if got := Distinct(Split("b a b c a"), 2); !slices.Equal(got, []string{"b", "a"}) {
		t.Errorf("distinct words: %q", got)
	}
}

func FuzzWords(f *testing.F) {
	f.Add("The quick, brown FOX 東京")
	f.Fuzz(func(t *testing.T, text string) {
		for _, word := range Split(text) {
			if word == "" || len(word) > maxBytes || !utf8.ValidString(word) {
				t.Errorf("%q: the word %q", text, word)
			}
			if again := Split(word); len(again) != 1 || again[0] != word {
				t.Errorf("%q: the word %q is split again: %q", text, word, again)
			}
		}
	})
}
