package sqlite

import "os"

const (
	// walAhead is how long the WAL file is made before it is needed: as long as it gets until its pages are written back and it begins anew.
	walAhead = (checkpoint + 200) * (4096 + 24)
	// walStep is how much longer it is made before a transaction.
	walStep = 1 << 20
)

// lengthen makes the WAL file a step longer than it is, with zeros, until it is long enough. A commit then overwrites what is there, which
// takes half of the time of one that makes the file longer: its length and the place of its blocks need not be written to the disk too.
// SQLite goes by checksums and takes zeros for the end of the log. A file that can't be made longer stays as it is: it may have room for
// what is to be written. Called when a transaction has begun and has written nothing: it has the lock without which nobody writes to the
// log, no other process either, so that nothing is overwritten that came after the length was asked for.
func (p *place) lengthen(path string, length int64) {
	if p.longEnough || length >= walAhead {
		return
	}
	if err := addZeros(path, length); err != nil {
		p.longEnough = true
	}
}

// zeros are what is written; they aren't made anew for each step, as they would be a large part of all that a busy minute leaves as garbage.
var zeros [walStep]byte

func addZeros(path string, length int64) error {
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = file.WriteAt(zeros[:], length)
	if err != nil {
		_ = file.Truncate(length) // on a full disk, others may need what there is
	}
	if closed := file.Close(); err == nil {
		err = closed
	}
	return err
}
