//go:build linux

package chaos_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/parleyhq/parley/internal/followtest"
)

// callLimit is how long a client waits for an answer.
const callLimit = 5 * time.Second

// client calls any node as a user. It is for one goroutine.
type client struct {
	user  string // empty: the operator
	nodes []*node
	http  *http.Client
	last  int // the node of the last call
}

func newClient(c *cluster, user string) *client {
	return &client{
		user: user, nodes: c.nodes,
		http: &http.Client{Timeout: callLimit, Transport: &http.Transport{MaxIdleConnsPerHost: 2}},
	}
}

// verdict is what is known of a call's effect.
type verdict uint8

const (
	answered verdict = iota // by a result, or by a refusal that is one of the state
	undone                  // nothing was done: the server was not reached, or says so
	unknown                 // it may have happened, or may yet happen
)

// answer is what a call got.
type answer struct {
	verdict verdict
	status  int
	reason  string // of a refusal
	body    []byte
}

// body is what the tests read of all answers together.
type body struct {
	Acknowledgment string `json:"acknowledgment"`
	Session        struct {
		MemberCount int `json:"memberCount"`
	} `json:"session"`
	UID           string `json:"uid"`
	DisplayName   string `json:"displayName"`
	HeadSequence  int64  `json:"headSequence,string"`
	MemberCount   int    `json:"memberCount"`
	NextPageToken string `json:"nextPageToken"`
	Messages      []struct {
		Text     string `json:"text"`
		Sequence int64  `json:"sequence,string"`
	} `json:"messages"`
	Members []struct {
		User string `json:"user"`
	} `json:"members"`
	Error struct {
		Message string `json:"message"`
		Details []struct {
			Reason string `json:"reason"`
		} `json:"details"`
	} `json:"error"`
}

func (a answer) read() (b body, err error) {
	if err := json.Unmarshal(a.body, &b); err != nil {
		return b, fmt.Errorf("%w: %s", err, a.body)
	}
	return b, nil
}

// String is for messages of failures.
func (a answer) String() string { return fmt.Sprintf("%d %s", a.status, a.body) }

// elsewhere picks a node, another than the last one.
func (c *client) elsewhere() followtest.Server {
	if others := len(c.nodes) - 1; others > 0 {
		c.last = (c.last + 1 + rand.IntN(others)) % len(c.nodes)
	}
	return c.nodes[c.last].server()
}

// call asks a node, mostly another than the last one.
func (c *client) call(ctx context.Context, method, path string, content any) (answer, error) {
	var encoded []byte
	if content != nil {
		var err error
		if encoded, err = json.Marshal(content); err != nil {
			return answer{}, err
		}
	}
	request, err := http.NewRequestWithContext(ctx, method, c.elsewhere().Base+path, bytes.NewReader(encoded))
	if err != nil {
		return answer{}, err
	}
	if content != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if c.user != "" {
		request.Header.Set("Parley-User", c.user)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return answer{verdict: reached(err)}, nil
	}
	defer func() { _ = response.Body.Close() }()
	a := answer{status: response.StatusCode}
	var all bytes.Buffer
	if _, err := all.ReadFrom(response.Body); err != nil {
		return answer{verdict: unknown}, nil
	}
	a.body = all.Bytes()
	return a.judge()
}

// reached is what is known of a request that was not answered.
func reached(err error) verdict {
	if dial, ok := errors.AsType[*net.OpError](err); ok && dial.Op == "dial" {
		return undone
	}
	return unknown
}

// judge finds out what the answer says of the effect. An answer that no fault excuses is an error.
func (a answer) judge() (answer, error) {
	if a.status == http.StatusOK {
		return a, nil
	}
	b, err := a.read()
	if err != nil {
		return a, err
	}
	for _, detail := range b.Error.Details {
		if detail.Reason != "" {
			a.reason = detail.Reason
		}
	}
	switch a.status {
	case http.StatusServiceUnavailable, http.StatusGatewayTimeout, http.StatusTooManyRequests:
		a.verdict = undone
		if a.reason == "OUTCOME_UNKNOWN" {
			a.verdict = unknown
		}
		if says := strings.Contains(b.Error.Message, "unknown"); says != (a.verdict == unknown) {
			return a, fmt.Errorf("the reason and the message do not say the same: %s", a)
		}
	case http.StatusInternalServerError:
		return a, fmt.Errorf("an error that nobody classified: %s", a)
	default:
	}
	return a, nil
}

// insist calls until there is an answer of the state. It is for what may be done twice.
func (c *client) insist(ctx context.Context, method, path string, content any) (body, error) {
	for {
		a, err := c.call(ctx, method, path, content)
		if err != nil {
			return body{}, fmt.Errorf("%s %s: %w", method, path, err)
		}
		if a.verdict == answered {
			if a.status != http.StatusOK {
				return body{}, fmt.Errorf("%s %s: %s", method, path, a)
			}
			return a.read()
		}
		if err := wait(ctx, 20*time.Millisecond); err != nil {
			return body{}, fmt.Errorf("%s %s: %w", method, path, err)
		}
	}
}

// document is a JSON object.
type document = map[string]any

// draft is a session that everybody may join.
func draft(name string, options document) document {
	return document{
		"profile": "chaos", "displayName": name, "sessionType": 1, "owners": []string{"owner"}, "defaultChannels": []int{1},
		"options": options,
	}
}
