package rpc

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/testing/protocmp"

	conversationv1 "github.com/parleyhq/parley/gen/parley/conversation/v1"
	"github.com/parleyhq/parley/internal/session"
)

// Both edges show the same event: what gRPC sends is what protojson reads from the envelope of the others.
func TestAnEventIsItsEnvelope(t *testing.T) {
	spec := session.Spec{
		Profile: "p", DisplayName: "d", Type: session.Private, Owners: []string{"u"}, DefaultChannels: []int32{1},
		Labels: map[string]string{"k": "v"}, Options: []byte(`{"n":1e+20}`),
	}
	now := session.Now()
	record := &session.Record{
		UID: session.NewUID(now, 7), ID: "room", Type: session.Private, Creator: "u", CreateTime: now, UpdateTime: now + 1,
		Document: spec.AppendJSON(nil), Head: session.Head{Sequence: 5, Members: 1, LastMessageTime: now + 2},
	}
	member := session.MemberState{Member: &session.Member{User: "u", Channels: []int32{1, 4}, JoinTime: now}, Role: session.RoleOwner, Online: true}
	message := session.Message{Kind: session.ContentData, Data: []byte(`{"a":[1e+20,null]}`), Metadata: []byte(`{"b":true}`), ReplyTo: "m0"}
	event := func(kind session.EventKind, sequence int64, document []byte) *session.Event {
		return &session.Event{UID: record.UID, ID: "room", Kind: kind, Sequence: sequence, Time: now, Actor: "u", Document: document}
	}
	published := event(session.MessagePublished, 6, message.AppendJSON(nil))
	published.Channel, published.MessageID = 4, "m1"
	ended := record.Ended(session.SessionExpired, "", now)
	ended.Gap = true
	ready := event(session.StreamReady, 0, record.AppendJSON(nil, ""))
	ready.At = &session.Cursor{UID: record.UID, Sequence: 3}
	for name, e := range map[string]*session.Event{
		"created":   record.Created(),
		"updated":   event(session.SessionUpdated, 6, record.AppendJSON(nil, "")),
		"expired":   ended,
		"joined":    event(session.MemberJoined, 6, member.AppendJSON(nil)),
		"message":   published,
		"ephemeral": event(session.MessagePublished, 0, message.AppendJSON(nil)),
		"ready":     ready,
		"draining":  event(session.ServerDraining, 0, nil),
	} {
		t.Run(name, func(t *testing.T) {
			got, err := eventOf(e)
			if err != nil {
				t.Fatal(err)
			}
			var want conversationv1.Event
			if err := protojson.Unmarshal(e.JSON(), &want); err != nil {
				t.Fatalf("%v\n%s", err, e.JSON())
			}
			if diff := cmp.Diff(&want, got, protocmp.Transform()); diff != "" {
				t.Errorf("event (-envelope +gRPC):\n%s", diff)
			}
		})
	}
}
