package keys

import "testing"

func TestAPanicOfOneOfManyIsTheCallers(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("the caller doesn't hear of it")
		}
	}()
	spread(10, 4, func(i int) {
		if i == 3 {
			panic("what another server sent")
		}
	})
}
