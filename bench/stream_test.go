//go:build linux

package main

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
)

const (
	sseHead    = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\nretry: 1000\n\n"
	socketHead = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"
	wholeUID   = "01a20da0-cbed-77fc-b17a-b6c0b4353e4d"
	anotherUID = "01a20da0-cbed-77fc-b17a-b6c0b4353e4e"
)

// sse is an event as the server writes it, and frame is the same on a WebSocket.
func sse(name, uid string, sequence int) string {
	return fmt.Sprintf("event: %s\nid: %s:%d\ndata: %s\n\n", name, uid, sequence, envelope(name, uid, sequence))
}

func frame(name string, sequence int) string {
	payload := envelope(name, wholeUID, sequence)
	head := binary.BigEndian.AppendUint16([]byte{0x80 | opcodeText, 126}, uint16(len(payload)))
	return string(head) + payload
}

func envelope(name, uid string, sequence int) string {
	text := `{"event":"` + name + `","cursor":"` + uid + fmt.Sprintf(`:%d","sequence":"%d","actor":"w"`, sequence, sequence)
	if name == "message" {
		text += `,"message":{"sequence":"7","text":"` + stamped(int64(1000+sequence)) + `"}`
	}
	return text + "}"
}

// takeInSteps reads the text as if so many bytes arrived at a time.
func takeInSteps(s *stream, t *tally, text string, step int) error {
	var left []byte
	for rest := text; rest != ""; {
		n := min(step, len(rest))
		left = append(left, rest[:n]...)
		rest = rest[n:]
		unread, err := s.take(left, t)
		if err != nil {
			return err
		}
		left = append([]byte(nil), unread...)
	}
	if len(left) > 0 {
		return fmt.Errorf("%q is left over", left)
	}
	return nil
}

func TestAStreamIsReadInWhateverPieces(t *testing.T) {
	texts := map[bool]string{
		false: sseHead + sse("ready", wholeUID, 2) + sse("message", wholeUID, 3) + ":\n\n" +
			sse("member.joined", wholeUID, 4) + sse("message", wholeUID, 5),
		true: socketHead + frame("ready", 2) + frame("message", 3) + "\x89\x02hi" +
			frame("member.joined", 4) + frame("message", 5),
	}
	for socket, text := range texts {
		for step := 1; step <= len(text); step++ {
			s, sum := &stream{socket: socket}, &tally{backlog: 2, now: 2000}
			if err := takeInSteps(s, sum, text, step); err != nil {
				t.Fatalf("in steps of %d: %v", step, err)
			}
			if sum.ready != 1 || sum.messages != 2 || sum.others != 1 || sum.missing != 0 || sum.duplicates != 0 || sum.caughtUp != 1 {
				t.Fatalf("in steps of %d: %d ready, %d messages, %d others, %d missing, %d duplicates, %d caught up",
					step, sum.ready, sum.messages, sum.others, sum.missing, sum.duplicates, sum.caughtUp)
			}
			if sum.firstSent != 1003 || sum.latencies.max != 997 || sum.lastCame != 2000 {
				t.Fatalf("in steps of %d: first sent %d, slowest %d, last came %d, want 1003, 997, 2000",
					step, sum.firstSent, sum.latencies.max, sum.lastCame)
			}
			if want := "\x8a\x82\x00\x00\x00\x00hi"; socket && string(s.pong) != want {
				t.Fatalf("in steps of %d: the ping is answered with %q, want %q", step, s.pong, want)
			}
		}
	}
}

func TestGapsAndDuplicatesAreCounted(t *testing.T) {
	begin := sseHead + sse("ready", wholeUID, 2)
	for _, tt := range []struct {
		name                string
		sequences           []int
		missing, duplicates int64
	}{
		{"in order", []int{3, 4, 5}, 0, 0},
		{"the first is missing", []int{4, 5}, 1, 0},
		{"two are missing", []int{3, 6}, 2, 0},
		{"one twice", []int{3, 3, 4}, 0, 1},
		{"out of order", []int{4, 3, 5}, 1, 1},
		{"before the cursor", []int{2, 3}, 0, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var text strings.Builder
			text.WriteString(begin)
			for _, sequence := range tt.sequences {
				text.WriteString(sse("message", wholeUID, sequence))
			}
			var sum tally
			if err := takeInSteps(&stream{}, &sum, text.String(), text.Len()); err != nil {
				t.Fatal(err)
			}
			if sum.missing != tt.missing || sum.duplicates != tt.duplicates || sum.messages != int64(len(tt.sequences)) {
				t.Errorf("%d missing and %d duplicates in %d messages, want %d and %d in %d",
					sum.missing, sum.duplicates, sum.messages, tt.missing, tt.duplicates, len(tt.sequences))
			}
		})
	}
}

func TestWhatAStreamMustNotSay(t *testing.T) {
	begin := sseHead + sse("ready", wholeUID, 2)
	for name, text := range map[string]string{
		"an error":           "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}",
		"chunks":             "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
		"another session":    begin + sse("message", anotherUID, 3),
		"nothing before":     sseHead + sse("message", wholeUID, 3),
		"ready again":        begin + sse("ready", wholeUID, 2),
		"reset":              begin + sse("reset", wholeUID, 9),
		"an end":             begin + sse("session.deleted", wholeUID, 3),
		"an unknown event":   begin + sse("surprise", wholeUID, 3),
		"a message unplaced": begin + "event: message\ndata: {}\n\n",
	} {
		t.Run(name, func(t *testing.T) {
			if err := takeInSteps(&stream{}, &tally{}, text, len(text)); err == nil {
				t.Error("taken without an error")
			}
		})
	}
	for name, text := range map[string]string{
		"no upgrade": sseHead,
		"a close":    socketHead + "\x88\x02\x03\xe9",
		"no event":   socketHead + "\x81\x02{}",
	} {
		t.Run("socket: "+name, func(t *testing.T) {
			if err := takeInSteps(&stream{socket: true}, &tally{}, text, len(text)); err == nil {
				t.Error("taken without an error")
			}
		})
	}
}

func TestReadingADeliveryDoesNotAllocate(t *testing.T) {
	s, sum := &stream{}, &tally{}
	if err := takeInSteps(s, sum, sseHead+sse("ready", wholeUID, 2), 1<<20); err != nil {
		t.Fatal(err)
	}
	text := []byte(sse("message", wholeUID, 3))
	allocs := testing.AllocsPerRun(1000, func() {
		s.sequence = 2
		if rest, err := s.take(text, sum); err != nil || len(rest) > 0 {
			t.Fatalf("%q is left, %v", rest, err)
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations a delivery", allocs)
	}
}
