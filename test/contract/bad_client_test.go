package contract_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// dial opens a raw connection to the server.
func dial(t *testing.T) net.Conn {
	t.Helper()
	at, err := url.Parse(baseURL)
	if err != nil {
		t.Fatal(err)
	}
	var dialer net.Dialer
	connection, err := dialer.DialContext(t.Context(), "tcp", at.Host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { connection.Close() }) // once more where the test closes it
	return connection
}

// send writes text as it is.
func send(t *testing.T, connection net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(connection, text); err != nil {
		t.Fatal(err)
	}
}

// receive reads one answer.
func receive(t *testing.T, connection net.Conn) answer {
	t.Helper()
	response, err := http.ReadResponse(bufio.NewReader(connection), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{status: response.StatusCode, header: response.Header, body: body}
}

// post is a create as it goes over the wire, with the session's id in its path.
func post(id, body string) string {
	return fmt.Sprintf("POST %s?sessionId=%s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		sessions, id, len(body), body)
}

// Clients that send a byte now and then must not keep others waiting: here each slow one has sent another part of its
// request, and hangs there while others are served.
func TestSlowClientsDoNotHarmOthers(t *testing.T) {
	text := post(newID(), raw(""))
	for i := range 50 {
		connection := dial(t)
		for _, b := range []byte(text[:1+i*(len(text)-2)/49]) {
			send(t, connection, string(b))
		}
	}
	id, created := create(t)
	if diff := cmp.Diff(created, get(t, id).ok(t)); diff != "" {
		t.Errorf("session (-created +got):\n%s", diff)
	}
}

func TestARequestByteByByteIsAnswered(t *testing.T) {
	id, connection := newID(), dial(t)
	for _, b := range []byte(post(id, raw(""))) {
		send(t, connection, string(b))
	}
	want(t, receive(t, connection).ok(t), object{"sessionId": id})
}

func TestAClientThatVanishesMidBodyLeavesNothing(t *testing.T) {
	id, connection := newID(), dial(t)
	text := post(id, raw(""))
	send(t, connection, text[:len(text)-1])
	if err := connection.Close(); err != nil {
		t.Fatal(err)
	}
	get(t, id).hidden(t)
	do(t, http.MethodPost, sessions+"?sessionId="+id, draft()).ok(t)
}

func TestABodyThatEndsTooEarly(t *testing.T) {
	connection := dial(t)
	text := post(newID(), raw(""))
	send(t, connection, text[:len(text)-1])
	if err := connection.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	receive(t, connection).refused(t, http.StatusBadRequest, "INVALID_ARGUMENT", "BODY_INCOMPLETE")
}

func TestAHeaderBomb(t *testing.T) {
	for name, header := range map[string]string{
		"one large field":   "X-Bomb: " + strings.Repeat("x", 128<<10) + "\r\n",
		"many small fields": strings.Repeat("X-Bomb: x\r\n", 12<<10),
	} {
		t.Run(name, func(t *testing.T) {
			connection := dial(t)
			// The server may answer and close before it has read all.
			_, _ = io.WriteString(connection, "GET "+sessions+" HTTP/1.1\r\nHost: localhost\r\n"+header+"\r\n")
			if got := receive(t, connection).status; got != http.StatusRequestHeaderFieldsTooLarge {
				t.Errorf("status = %d, want 431", got)
			}
		})
	}
}

func TestAnotherWebsitesOrigin(t *testing.T) {
	id, _ := create(t)
	own := baseURL
	for _, test := range []struct {
		method, origin string
		allowed        bool
	}{
		{http.MethodGet, "https://evil.example.com", true},
		{http.MethodPost, "https://evil.example.com", false},
		{http.MethodPatch, "https://evil.example.com", false},
		{http.MethodDelete, "https://evil.example.com", false},
		{http.MethodPost, "null", false},
		{http.MethodPost, "http://localhost.evil.com", false},
		{http.MethodPost, "http://127.0.0.1:1", false},
		{http.MethodPost, "https://trusted.example.com.evil.com", false},
		{http.MethodPost, trustedOrigin, true},
		{http.MethodPost, own, true},
	} {
		t.Run(test.method+" "+test.origin, func(t *testing.T) {
			path, body := sessions, any(draft())
			if test.method != http.MethodPost {
				path += "/" + id
			}
			if test.method == http.MethodGet {
				body = nil
			}
			answer := do(t, test.method, path, body, withHeader("Origin", test.origin))
			if test.allowed {
				answer.ok(t)
				return
			}
			answer.refused(t, http.StatusForbidden, "PERMISSION_DENIED", "FOREIGN_ORIGIN")
		})
	}
}

func TestHosts(t *testing.T) {
	for host, allowed := range map[string]bool{
		"localhost": true, "LOCALHOST:80": true, "127.0.0.1": true, "127.9.9.9:1": true, "[::1]:8080": true,
		"evil.example.com": false, "localhost.evil.com": false, "127.0.0.1.evil.com": false, "192.168.0.1": false,
		"0.0.0.0": false, "[::]": false, "localhost.": false,
	} {
		t.Run(host, func(t *testing.T) {
			answer := do(t, http.MethodGet, sessions+"?pageSize=1", nil, func(r *http.Request) { r.Host = host })
			if allowed {
				answer.ok(t)
				return
			}
			answer.refused(t, http.StatusForbidden, "PERMISSION_DENIED", "HOST_NOT_LOOPBACK")
		})
	}
}

func TestNoHostAtAll(t *testing.T) {
	connection := dial(t)
	send(t, connection, "GET "+sessions+" HTTP/1.0\r\n\r\n")
	receive(t, connection).refused(t, http.StatusForbidden, "PERMISSION_DENIED", "HOST_NOT_LOOPBACK")
}

// An unknown path must not tell a rebound page more than the others do.
func TestARebindsUnknownPath(t *testing.T) {
	for _, path := range []string{"/", "//v1/conversation/sessions", "/v1/conversation/../conversation/sessions"} {
		t.Run(path, func(t *testing.T) {
			connection := dial(t)
			send(t, connection, "GET "+path+" HTTP/1.1\r\nHost: evil.example.com\r\nConnection: close\r\n\r\n")
			receive(t, connection).refused(t, http.StatusForbidden, "PERMISSION_DENIED", "HOST_NOT_LOOPBACK")
		})
	}
}

func TestProxiedRequests(t *testing.T) {
	for _, name := range []string{"X-Forwarded-For", "x-forwarded-host", "X-Forwarded-Proto", "Via", "Forwarded"} {
		t.Run(name, func(t *testing.T) {
			f := do(t, http.MethodGet, sessions, nil, withHeader(name, "1.2.3.4")).
				refused(t, http.StatusForbidden, "PERMISSION_DENIED", "PROXIED")
			if !strings.Contains(f.Message, "--auth jwt") {
				t.Errorf("message = %q, want one that says what to do", f.Message)
			}
		})
	}
}
