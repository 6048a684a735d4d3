package postgres

import (
	"strconv"
	"strings"
	"testing"

	"github.com/parleyhq/parley/internal/session"
	"github.com/parleyhq/parley/internal/store/pgtest"
	"github.com/parleyhq/parley/internal/store/storetest"
)

// A page of large sessions ends when it is large, and says where the next one begins: whoever asks for a thousand of them
// is not to have the server hold them all.
func TestAPageOfLargeSessionsIsShort(t *testing.T) {
	t.Parallel()
	store := openStore(t, Config{URL: pgtest.Database(t)})
	const sessions = 100
	spec := session.Spec{
		Profile: "p", DisplayName: "d", Type: session.Public, Owners: []string{"u"}, DefaultChannels: []int32{1},
		Description: strings.Repeat("d", 300_000), // more than a client may send, to stand for all the rest
	}
	for i := range sessions {
		create(t, store, storetest.Creation{ID: "s-" + strconv.Itoa(i), Spec: spec, Creator: "u"})
	}
	query := session.Query{All: true, Size: sessions}
	found := 0
	for pages := 1; ; pages++ {
		page, err := store.List(t.Context(), &query)
		if err != nil {
			t.Fatal(err)
		}
		bytes := 0
		for _, record := range page.Records {
			bytes += len(record.Document)
		}
		if most := listBytes + 2*len(spec.Description); bytes > most {
			t.Errorf("page %d has %d bytes, want at most %d", pages, bytes, most)
		}
		found += len(page.Records)
		if page.Next == nil {
			if found != sessions || pages < 2 {
				t.Errorf("%d pages have %d sessions, want all %d in several", pages, found, sessions)
			}
			return
		}
		query.After = page.Next
	}
}
