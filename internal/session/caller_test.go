package session

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// maySee looks into the document by itself: it must find whom the decoded lists have, and nobody else.
func TestWhoMaySeeIsWhoIsListed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		user := rapid.StringOfN(rapid.SampledFrom([]rune(`[],"\aé`)), 1, 4, -1)
		users := rapid.SliceOfNDistinct(user, 0, 4, rapid.ID[string])
		spec := Spec{
			Profile: user.Draw(t, "profile"), DisplayName: `"owners":["x"]`, Type: Private, Owners: users.Draw(t, "owners"),
			Description: `"allowedUsers":["y"]`, AllowedUsers: users.Draw(t, "allowed"), BlockedUsers: users.Draw(t, "blocked"),
		}
		record := &Record{Type: Private, Document: spec.AppendJSON(nil)}
		caller := Caller{User: user.Draw(t, "caller")}
		want := slices.Contains(spec.Owners, caller.User) || slices.Contains(spec.AllowedUsers, caller.User)
		if got := caller.maySee(record, nil); got != want {
			t.Fatalf("maySee(%q) = %t in %s, want %t", caller.User, got, record.Document, want)
		}
	})
}
