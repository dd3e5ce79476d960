package postgres

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// TestValuesAreEncodedAsTheDriverDoes: what is encoded here is what the driver would send, NULL and what is empty too.
func TestValuesAreEncodedAsTheDriverDoes(t *testing.T) {
	type name string
	types := pgtype.NewMap()
	e := encoder{types: types, bytes: []byte{}}
	args := []any{"", "täxt", int64(-1), int64(1) << 40, []byte(nil), []byte{}, []byte{0, 1}, json.RawMessage(nil), json.RawMessage("{}"), nil, name("@alice"), 7, 3 * time.Nanosecond}
	oids := []uint32{
		pgtype.TextOID, pgtype.TextOID, pgtype.Int8OID, pgtype.Int8OID, pgtype.ByteaOID, pgtype.ByteaOID, pgtype.ByteaOID, pgtype.ByteaOID, pgtype.ByteaOID,
		pgtype.Int8OID, pgtype.TextOID, pgtype.Int8OID, pgtype.Int8OID,
	}
	for range 2 { // the encoder is used again
		values, err := e.values(oids, args)
		if err != nil {
			t.Fatal(err)
		}
		for i, arg := range args {
			want, err := types.Encode(oids[i], pgtype.BinaryFormatCode, arg, []byte{})
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(values[i], want) || (values[i] == nil) != (want == nil) {
				t.Errorf("%#v is %q, want %q", arg, values[i], want)
			}
		}
	}
	for given := range 3 {
		if _, err := e.values(oids[:1], args[:given]); (err == nil) != (given == 1) {
			t.Errorf("a statement of one value was given %d: %v", given, err)
		}
	}
	if _, err := e.values([]uint32{pgtype.Int8OID}, []any{"seven"}); err == nil {
		t.Error("a text is taken for a number")
	}
}

// BenchmarkValues is the values of 64 rows of events, encoded here and as the driver does it.
func BenchmarkValues(b *testing.B) {
	hash, text := make([]byte, 32), make([]byte, 700)
	row := []any{
		int64(1), "$0123456789012345678901234567890123456789012", int64(2), int64(1), int64(1), int64(3), int64(0), int64(0), hash, hash, []byte(nil), []byte(nil), []byte(nil),
		[]byte(nil), text, hash,
	}
	var args []any
	var oids []uint32
	for range 64 {
		args = append(args, row...)
		for _, arg := range row {
			switch arg.(type) {
			case int64:
				oids = append(oids, pgtype.Int8OID)
			case string:
				oids = append(oids, pgtype.TextOID)
			default:
				oids = append(oids, pgtype.ByteaOID)
			}
		}
	}
	b.Run("here", func(b *testing.B) {
		e := encoder{types: pgtype.NewMap(), bytes: []byte{}}
		b.ReportAllocs()
		for b.Loop() {
			if _, err := e.values(oids, args); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("driver", func(b *testing.B) {
		query := pgx.ExtendedQueryBuilder{}
		types, statement := pgtype.NewMap(), &pgconn.StatementDescription{ParamOIDs: oids}
		b.ReportAllocs()
		for b.Loop() {
			if err := query.Build(types, statement, args); err != nil {
				b.Fatal(err)
			}
		}
	})
}
