package access_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	conversationv1 "github.com/parleyhq/parley/gen/parley/conversation/v1"
)

// What the statistics find is a difference that is beyond chance.
const (
	pairs        = 1000
	rounds       = 3   // all of which must find it
	beyondChance = 5.0 // standard deviations: once in two million, and in three rounds never
)

// TestTheTimeDoesNotTellOfAHiddenSession measures calls about hidden sessions and about ids never used in turns, each pair
// in random order. Of each pair one is the slower one: without a leak that is a matter of chance, whatever the machine
// does meanwhile.
func TestTheTimeDoesNotTellOfAHiddenSession(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes its time")
	}
	var hidden, unused []string
	for range 16 {
		hidden = append(hidden, create(t, draft(private, "owner", func(s *conversationv1.Session) {
			s.AllowedUsers, s.SecretKey = []string{"friend"}, secretKey
		})))
		unused = append(unused, newID())
	}
	c := dialHTTP(t)
	headers := as("other").headers(t)
	guesser, guesses := newID(), map[string]int{}
	for call, ask := range map[string]func(t *testing.T, id string) time.Duration{
		"GetSession": func(t *testing.T, id string) time.Duration { return c.ask(t, http.MethodGet, name(id), "", headers) },
		"ListMessages": func(t *testing.T, id string) time.Duration {
			return c.ask(t, http.MethodGet, name(id)+"/messages", "", headers)
		},
		"SessionEvents": func(t *testing.T, id string) time.Duration {
			return c.ask(t, http.MethodGet, name(id)+"/events", "", headers)
		},
		"JoinSession": func(t *testing.T, id string) time.Duration {
			return c.ask(t, http.MethodPost, name(id)+"/join", "{}", headers)
		},
		"JoinSession with a wrong secretKey": func(t *testing.T, id string) time.Duration {
			guesses[id]++ // of an id that many guess, only a user's first one is compared
			headers := as(fmt.Sprintf("%s-%d", guesser, guesses[id])).headers(t)
			return c.ask(t, http.MethodPost, name(id)+"/join", `{"secretKey":"wrong-sesame"}`, headers)
		},
	} {
		t.Run(call, func(t *testing.T) {
			ask := func(id string) time.Duration { return ask(t, id) }
			for range pairs / 10 { // until everything that is made once has been made
				i := rand.IntN(len(hidden))
				ask(hidden[i])
				ask(unused[i])
			}
			var found []string
			for range rounds {
				d := measure(ask, hidden, unused)
				if !d.found() {
					t.Log(d)
					return
				}
				found = append(found, d.String())
			}
			t.Errorf("the time tells a hidden session from none: %s", strings.Join(found, "; "))
		})
	}
}

// difference is what pairs of measurements have shown.
type difference struct {
	median time.Duration // of how much longer the hidden session took
	z      float64       // by how many standard deviations the pairs are lopsided (sign test)
}

func (d difference) found() bool {
	return math.Abs(d.z) > beyondChance
}

func (d difference) String() string {
	return fmt.Sprintf("a hidden session takes %v longer than none (median of %d pairs, z = %.1f)", d.median, pairs, d.z)
}

func measure(ask func(id string) time.Duration, hidden, unused []string) difference {
	longer := make([]time.Duration, 0, pairs)
	lopsided := 0
	for range pairs {
		i := rand.IntN(len(hidden))
		var one, other time.Duration
		if rand.IntN(2) == 0 {
			one, other = ask(hidden[i]), ask(unused[i])
		} else {
			other, one = ask(unused[i]), ask(hidden[i])
		}
		longer = append(longer, one-other)
		switch {
		case one > other:
			lopsided++
		case one < other:
			lopsided--
		}
	}
	slices.Sort(longer)
	return difference{median: longer[pairs/2], z: float64(lopsided) / math.Sqrt(pairs)}
}

// httpConn is a connection that is kept, with as little between it and the clock as can be.
type httpConn struct {
	net.Conn

	buffered *bufio.Reader
}

func dialHTTP(t *testing.T) *httpConn {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", strings.TrimPrefix(server.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &httpConn{Conn: conn, buffered: bufio.NewReader(conn)}
}

// ask asks for what must not be there, and returns how long the answer took.
func (c *httpConn) ask(t *testing.T, method, path, body string, headers map[string]string) time.Duration {
	t.Helper()
	var request bytes.Buffer
	fmt.Fprintf(&request, "%s %s%s HTTP/1.1\r\nHost: %s\r\n", method, root, path, c.RemoteAddr())
	for name, value := range headers {
		fmt.Fprintf(&request, "%s: %s\r\n", name, value)
	}
	if body != "" {
		fmt.Fprintf(&request, "Content-Type: application/json\r\nContent-Length: %d\r\n", len(body))
	}
	request.WriteString("\r\n" + body)

	start := time.Now()
	if _, err := c.Write(request.Bytes()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.buffered.Peek(1); err != nil {
		t.Fatal(err)
	}
	took := time.Since(start)
	response, err := http.ReadResponse(c.buffered, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil || response.StatusCode != http.StatusNotFound {
		t.Fatalf("status = %d, %v, want 404", response.StatusCode, err)
	}
	return took
}
