package bench

import "testing"

// TestAFloorIsMeasuredHoweverLittleTimeThereIs: a machine that does much else may not come to it before the time is over.
func TestAFloorIsMeasuredHoweverLittleTimeThereIs(t *testing.T) {
	got, err := new(floors).onAllCores(func(int) error { return nil })
	if err != nil || got.rate <= 0 {
		t.Errorf("%+v, %v", got, err)
	}
}
