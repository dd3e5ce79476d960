// Package words splits texts into the words that they are found by.
package words

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxBytes is where a word is cut: longer ones are no words of a language.
const maxBytes = 64

// Split gives the words of a text, in lower case: letters, digits and marks in a row. The scripts that don't put blanks
// between words give one for each character. A long word is cut.
func Split(text string) []string {
	var words []string
	var word strings.Builder
	end := func() {
		if word.Len() > 0 {
			words = append(words, word.String())
			word.Reset()
		}
	}
	for _, r := range text {
		switch {
		case r == utf8.RuneError || !unicode.In(r, unicode.L, unicode.N, unicode.M):
			end()
		case unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Thai, unicode.Lao, unicode.Khmer, unicode.Myanmar):
			end()
			words = append(words, string(r))
		default:
			if r = unicode.ToLower(r); word.Len()+utf8.RuneLen(r) <= maxBytes {
				word.WriteRune(r)
			}
		}
	}
	end()
	return words
}

// Distinct keeps the first of equal words, and at most so many.
func Distinct(words []string, most int) []string {
	seen := make(map[string]bool, len(words))
	kept := words[:0]
	for _, word := range words {
		if !seen[word] && len(kept) < most {
			seen[word] = true
			kept = append(kept, word)
		}
	}
	return kept
}
