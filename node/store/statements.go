package store

import (
	"strconv"
	"strings"

	"hanse/federation/roomstate"
)

// list makes the statements that look for several values: "… IN (%s) …" with placeholders from number first on; "%[1]s"
// where the same values stand in several places.
// Lengths are powers of two (the last value repeats), so that there are few texts to prepare. use is called with
// each part's statement and arguments; fixed arguments come first.
func list[T ~string](format string, fixed []any, values []T, use func(query string, args []any) error) error {
	return listOf(format, fixed, values, func(v T) any { return string(v) }, use)
}

// listPositions is list for positions, listHashes for hashes.
func listPositions(format string, fixed []any, values []Position, use func(query string, args []any) error) error {
	return listOf(format, fixed, values, func(v Position) any { return int64(v) }, use)
}

func listHashes(format string, values []roomstate.Hash, use func(query string, args []any) error) error {
	return listOf(format, nil, values, func(v roomstate.Hash) any { return v[:] }, use)
}

func listOf[T any](format string, fixed []any, values []T, arg func(T) any, use func(query string, args []any) error) error {
	for len(values) > 0 {
		part := values[:min(len(values), listLength)]
		values = values[len(part):]
		size := 1
		for size < len(part) {
			size *= 2
		}
		args := make([]any, 0, len(fixed)+size)
		args = append(args, fixed...)
		for i := range size {
			args = append(args, arg(part[min(i, len(part)-1)]))
		}
		places := placeholders(len(fixed)+1, size)
		query := strings.ReplaceAll(strings.ReplaceAll(format, "%[1]s", places), "%s", places)
		if err := use(query, args); err != nil {
			return err
		}
	}
	return nil
}

// placeholders is "$first,$first+1,…".
func placeholders(first, count int) string {
	text := make([]byte, 0, 5*count)
	for i := range count {
		if i > 0 {
			text = append(text, ',')
		}
		text = strconv.AppendInt(append(text, '$'), int64(first+i), 10)
	}
	return string(text)
}

// insertion is an INSERT that the committer gathers rows for. Its values are package constants in all but name.
type insertion struct {
	into     string // table and columns: "t (a, b)"
	columns  int
	conflict string // what follows the values
	key      int    // how many leading columns are the key of ON CONFLICT DO UPDATE; 0 = none: rows never clash in one statement
}

// text is the statement for so many rows, its parameters numbered, or, if unnumbered, in order: "?".
func (i *insertion) text(rows int, unnumbered bool) string {
	var b strings.Builder
	b.WriteString("INSERT INTO " + i.into + " VALUES ")
	for row := range rows {
		if row > 0 {
			b.WriteByte(',')
		}
		if unnumbered {
			b.WriteString("(?" + strings.Repeat(",?", i.columns-1) + ")")
		} else {
			b.WriteString("(" + placeholders(row*i.columns+1, i.columns) + ")")
		}
	}
	b.WriteString(" " + i.conflict)
	return b.String()
}

// removal is a DELETE of the rows with some values in a column, which the committer gathers.
type removal struct {
	from, column string
	inserts      *insertion // into the same table
}

// text is the statement for so many values.
func (r *removal) text(values int) string {
	return "DELETE FROM " + r.from + " WHERE " + r.column + " IN (" + placeholders(1, values) + ")"
}
