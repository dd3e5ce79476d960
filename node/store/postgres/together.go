package postgres

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/stdlib"

	"hanse/node/store"
)

// together sends all statements before it waits for the first answer.
func together(ctx context.Context, conn any, statements []store.Statement) (touched int64, err error) {
	c := conn.(*stdlib.Conn).Conn()
	e := encoder{types: c.TypeMap(), bytes: []byte{}}
	var batch pgconn.Batch
	for _, s := range statements {
		prepared, err := c.Prepare(ctx, s.Text, s.Text) // it is, and found
		if err != nil {
			return 0, err
		}
		values, err := e.values(prepared.ParamOIDs, s.Args)
		if err != nil {
			return 0, err
		}
		batch.ExecStatement(prepared, values, []int16{pgtype.BinaryFormatCode}, nil)
	}
	results := c.PgConn().ExecBatch(ctx, &batch)
	for results.NextResult() {
		tag, _ := results.ResultReader().Close() // results.Close tells the first error
		touched = tag.RowsAffected()
	}
	return touched, results.Close()
}

// encoder makes what goes to the server of values. The driver's own way of finding out how takes five times as long for a row of an event, which is
// more than storing it.
type encoder struct {
	types *pgtype.Map
	list  [][]byte
	bytes []byte // of numbers and texts; not nil, as that stands for NULL
}

// values are those of a statement, until it is called again.
func (e *encoder) values(types []uint32, args []any) ([][]byte, error) {
	e.list, e.bytes = e.list[:0], e.bytes[:0]
	if len(args) != len(types) {
		return nil, fmt.Errorf("a statement of %d values was given %d", len(types), len(args))
	}
	for i, arg := range args {
		value, err := e.value(types[i], arg)
		if err != nil {
			return nil, err
		}
		e.list = append(e.list, value)
	}
	return e.list, nil
}

// value is that of a parameter of a type; nil stands for NULL.
func (e *encoder) value(oid uint32, arg any) ([]byte, error) {
	start := len(e.bytes)
	switch v := arg.(type) {
	case []byte:
		if oid == pgtype.ByteaOID {
			return v, nil
		}
	case json.RawMessage:
		if oid == pgtype.ByteaOID {
			return v, nil
		}
	case int64:
		if oid == pgtype.Int8OID {
			e.bytes = binary.BigEndian.AppendUint64(e.bytes, uint64(v))
			return e.bytes[start:], nil
		}
	case string:
		if oid == pgtype.TextOID {
			e.bytes = append(e.bytes, v...)
			return e.bytes[start:], nil
		}
	}
	return e.types.Encode(oid, pgtype.BinaryFormatCode, arg, []byte{})
}
