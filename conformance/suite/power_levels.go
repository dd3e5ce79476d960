package suite

import (
	"maps"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation/roomversion"
)

// textLevels are the power levels in an event's content that stand there as texts.
func textLevels(content map[string]any) []string {
	var texts []string
	for name, level := range content {
		switch level := level.(type) {
		case string:
			texts = append(texts, name)
		case map[string]any:
			for _, inner := range textLevels(level) {
				texts = append(texts, name+"."+inner)
			}
		}
	}
	return texts
}

var _ = Describe("Power levels", Label("s2s:authorisation"), func() {
	for _, version := range []roomversion.Version{roomversion.V1, roomversion.V9} { // those of before version 10 may be texts
		It("are no texts in a new room, and clients can't make them so, in room version "+string(version), Label("rooms:v"+string(version)),
			says("server-server-api#definitions", "A homeserver should take reasonable precautions to prevent users from sending new power level events with string values (eg: by rejecting the API request), and must never populate the default power levels in a room as string values."), func(ctx SpecContext) {
				roomID := roomOfAlice(ctx, version, nil)
				made, err := stateContent(ctx, alice, roomID, "m.room.power_levels", "")()
				Expect(err).NotTo(HaveOccurred())
				Expect(textLevels(made)).To(BeEmpty())
				for name, level := range map[string]any{
					"users_default": "0", "users": map[string]any{alice.ID: 100, "@somebody:elsewhere.test": "50"}, "events": map[string]any{"m.room.name": "50"},
				} {
					wrong := maps.Clone(made)
					wrong[name] = level
					_, _ = alice.SetState(ctx, string(roomID), "m.room.power_levels", "", wrong) // refused, or made numbers of
					now, err := stateContent(ctx, alice, roomID, "m.room.power_levels", "")()
					Expect(err).NotTo(HaveOccurred())
					Expect(textLevels(now)).To(BeEmpty())
				}
			})
	}
})
