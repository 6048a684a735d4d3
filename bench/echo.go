//go:build linux

package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
)

// echoSession has the fields of the API's session, as a plain struct: what a
// server answers when it does nothing but decode and encode.
type echoSession struct {
	Name            string            `json:"name"`
	SessionID       string            `json:"sessionId"`
	UID             string            `json:"uid"`
	ETag            string            `json:"etag"`
	Profile         string            `json:"profile"`
	DisplayName     string            `json:"displayName"`
	SessionType     int32             `json:"sessionType"`
	Owners          []string          `json:"owners"`
	DefaultChannels []int32           `json:"defaultChannels"`
	Description     string            `json:"description"`
	AllowedUsers    []string          `json:"allowedUsers"`
	BlockedUsers    []string          `json:"blockedUsers"`
	Options         map[string]any    `json:"options"`
	Labels          map[string]string `json:"labels"`
	Creator         string            `json:"creator"`
	HasSecretKey    bool              `json:"hasSecretKey"`
	HeadSequence    string            `json:"headSequence"`
	MemberCount     int32             `json:"memberCount"`
	LastMessageTime string            `json:"lastMessageTime"`
	ExpireTime      string            `json:"expireTime"`
	CreateTime      string            `json:"createTime"`
	UpdateTime      string            `json:"updateTime"`
}

// fixedSession is what every GET of the echo answers.
func fixedSession() *echoSession {
	return &echoSession{
		Name:            "sessions/b-00000042",
		SessionID:       "b-00000042",
		UID:             "01989c2e-7a53-7c1e-9b1f-3f0d2c4b5a69",
		ETag:            "01989c2e7a53:1",
		Profile:         "support-assistant-v2",
		DisplayName:     "Support conversation 00001234",
		SessionType:     1,
		Owners:          []string{"user-0042", "user-4711"},
		DefaultChannels: []int32{1, 4},
		Description: "Opened from the help page of the shop; the assistant answers first and hands over " +
			"to a person when asked. Kept for ninety days.",
		AllowedUsers: []string{},
		BlockedUsers: []string{},
		Options:      map[string]any{"maxMembers": 12, "theme": map[string]any{"dark": true}},
		Labels:       map[string]string{"tenant": "t7"},
		Creator:      "user-0042",
		HeadSequence: "1",
		CreateTime:   "2026-01-02T03:04:05.000006Z",
		UpdateTime:   "2026-01-02T03:04:05.000006Z",
	}
}

// newEcho is the ceiling that the server is held against: net/http and
// encoding/json as anybody would write them, without tuning and without work.
func newEcho() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /echo", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		var s echoSession
		if err := json.Unmarshal(body, &s); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		answer(w, &s)
	})
	mux.HandleFunc("POST /echo/messages", echoMessages)
	fixed := fixedSession()
	mux.HandleFunc("GET /echo/{id}", func(w http.ResponseWriter, r *http.Request) {
		s := *fixed
		s.SessionID = r.PathValue("id")
		answer(w, &s)
	})
	return mux
}

func answer(w http.ResponseWriter, v any) {
	text, err := json.Marshal(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(text) // a client that is gone needs no answer
}

// echoMain serves until the context ends. Its first line on standard output is
// the address.
func echoMain(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("bench echo", flag.ContinueOnError)
	flags.SetOutput(stderr)
	listen := flags.String("listen", "127.0.0.1:0", "`address` to listen on")
	if err := flags.Parse(args); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	fmt.Fprintln(stdout, listener.Addr())
	server := &http.Server{Handler: newEcho()}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(listener); err != http.ErrServerClosed {
		return err
	}
	return nil
}
