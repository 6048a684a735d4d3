package nodes_test

import (
	"strconv"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/parleyhq/parley/internal/followtest"
)

// count is the number that a query answers with.
func (c *cluster) count(t *testing.T, query string) (n int) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), c.database)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	if err := conn.QueryRow(t.Context(), query).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestASessionExpiresOnce has all nodes sweep sessions, whose ids are used again while they do. None of the nodes has to
// warn of anything.
func TestASessionExpiresOnce(t *testing.T) {
	t.Parallel() // it takes its time
	c := startCluster(t)
	const sessions = 40
	const lifetime = "5s" // so long all streams take to open, on a slow machine
	drafts := []document{
		draft(public, document{"options": document{"ttl": lifetime}}),
		draft(temporary, document{"options": document{"idleTimeout": lifetime}}),
	}
	c.onAll(1, func(i int, n *node) {
		for k := i; k < sessions; k += size {
			n.post(t, "ada", "?sessionId=s-"+strconv.Itoa(k), drafts[k%2])
		}
	})
	lasting := c.nodes[0].post(t, "ada", "?sessionId=lasting", draft(temporary, document{"options": document{"idleTimeout": lifetime}}))
	c.nodes[1].post(t, "ada", "/lasting/join", document{})
	var streams []*stream
	for k := range 2 * size {
		for _, n := range c.nodes {
			streams = append(streams, n.listen(t, followtest.SSE, followtest.Request{Session: "s-" + strconv.Itoa(k), Cursor: "beginning", Header: as("ada")}))
		}
	}
	for i, s := range streams {
		expired := 0
		last := followtest.Event{}
		for e := s.next(t); e.Event != ""; e = s.next(t) {
			last = e
			if e.Event == "session.expired" {
				expired++
			}
		}
		if expired != 1 || last.Event != "session.expired" || last.Sequence != 2 {
			t.Errorf("stream %d has %d ends of its session, the last event is %+v", i, expired, last)
		}
	}
	const ended = `SELECT count(*) FROM tombstones`
	eventually(t, "all sessions are swept", func() bool { return c.count(t, ended) == sessions })
	c.onAll(1, func(i int, n *node) {
		for k := i; k < sessions; k += size {
			n.post(t, "ada", "?sessionId=s-"+strconv.Itoa(k), draft(public))
		}
	})
	eventually(t, "what is left of them is purged", func() bool {
		return c.count(t, `SELECT count(*) FROM tombstones WHERE NOT purged`) == 0
	})
	if got := c.count(t, ended); got != sessions {
		t.Errorf("%d sessions have ended, want %d", got, sessions)
	}
	if got := c.count(t, `SELECT count(DISTINCT uid) FROM tombstones WHERE sequence = 2`); got != sessions {
		t.Errorf("%d sessions have ended with their second event, want all %d", got, sessions)
	}
	if got := c.nodes[2].get(t, "ada", "/lasting"); got["uid"] != lasting["uid"] {
		t.Errorf("a session with a member is %v", got)
	}
	c.nodes[0].post(t, "ada", "/lasting/leave", document{})
	eventually(t, "the session that the last member left is swept", func() bool { return c.count(t, ended) == sessions+1 })
}

// TestAHistoryIsTrimmedWhileAllNodesPublish has the nodes trim the logs that they write to.
func TestAHistoryIsTrimmedWhileAllNodesPublish(t *testing.T) {
	t.Parallel() // it takes its time
	c := startCluster(t)
	const rooms, kept, each = 4, 5, 40
	for k := range rooms {
		path := "s-" + strconv.Itoa(k)
		c.nodes[k%size].post(t, "ada", "?sessionId="+path, draft(public, document{"options": document{"historySize": kept}}))
		c.nodes[k%size].post(t, "ada", "/"+path+"/join", document{})
	}
	c.onAll(1, func(_ int, n *node) {
		for i := range each {
			n.post(t, "ada", "/s-"+strconv.Itoa(i%rooms)+"/messages", document{"message": document{"text": "x"}})
		}
	})
	eventually(t, "all logs are trimmed", func() bool { return c.count(t, `SELECT count(*) FROM events`) == rooms*kept })
	for k := range rooms {
		for _, n := range c.nodes {
			path := "/s-" + strconv.Itoa(k)
			if got := n.get(t, "ada", path+"/messages")["messages"].([]any); len(got) != kept {
				t.Errorf("the log has %d messages, want %d", len(got), kept)
			}
			if got, want := n.get(t, "ada", path)["headSequence"], strconv.Itoa(2+each/rooms*size); got != want {
				t.Errorf("headSequence = %v, want %s", got, want)
			}
		}
	}
}
