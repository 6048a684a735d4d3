package rpc

import (
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	conversationv1 "github.com/parleyhq/parley/gen/parley/conversation/v1"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/session"
)

// draftOf reads a session in a request. A field that has its default value counts as not given.
func draftOf(s *conversationv1.Session) (*session.Draft, error) {
	if s == nil {
		return nil, fault.Invalid("session", "is required")
	}
	draft := &session.Draft{
		Spec: session.Spec{
			Profile:         s.GetProfile(),
			DisplayName:     s.GetDisplayName(),
			Type:            session.Type(s.GetSessionType()),
			Owners:          s.GetOwners(),
			DefaultChannels: s.GetDefaultChannels(),
			Description:     s.GetDescription(),
			AllowedUsers:    s.GetAllowedUsers(),
			BlockedUsers:    s.GetBlockedUsers(),
			Labels:          s.GetLabels(),
		},
		Name:      s.GetName(),
		ETag:      s.GetEtag(),
		SecretKey: s.GetSecretKey(),
	}
	var err error
	if draft.Options, err = objectOf(s.GetOptions(), "options"); err != nil {
		return nil, err
	}
	draft.Given = givenIn(draft)
	return draft, nil
}

func givenIn(draft *session.Draft) (given session.Fields) {
	for field, is := range map[session.Fields]bool{
		session.FieldProfile:         draft.Profile != "",
		session.FieldDisplayName:     draft.DisplayName != "",
		session.FieldType:            draft.Type != 0,
		session.FieldOwners:          len(draft.Owners) > 0,
		session.FieldDefaultChannels: len(draft.DefaultChannels) > 0,
		session.FieldDescription:     draft.Description != "",
		session.FieldAllowedUsers:    len(draft.AllowedUsers) > 0,
		session.FieldBlockedUsers:    len(draft.BlockedUsers) > 0,
		session.FieldOptions:         draft.Options != nil,
		session.FieldLabels:          len(draft.Labels) > 0,
		session.FieldSecretKey:       draft.SecretKey != "",
	} {
		if is {
			given |= field
		}
	}
	return given
}

// sessionOf is a session as clients get to see it.
func sessionOf(result session.Result) (*conversationv1.Session, error) {
	record := result.Record
	spec, err := record.Spec()
	if err != nil {
		return nil, err
	}
	s := &conversationv1.Session{
		Name:            record.Name(),
		SessionId:       record.ID,
		Uid:             record.UID.String(),
		Etag:            record.ETag(),
		Creator:         record.Creator,
		HasSecretKey:    record.Secret.Exists(),
		SecretKey:       result.SecretKey,
		HeadSequence:    record.Head.Sequence,
		MemberCount:     record.Head.Members,
		LastMessageTime: timestampOf(record.Head.LastMessageTime),
		ExpireTime:      timestampOf(record.ExpireTime),
		CreateTime:      timestampOf(record.CreateTime),
		UpdateTime:      timestampOf(record.UpdateTime),
		Profile:         spec.Profile,
		DisplayName:     spec.DisplayName,
		SessionType:     conversationv1.SessionType(spec.Type),
		Owners:          spec.Owners,
		DefaultChannels: spec.DefaultChannels,
		Description:     spec.Description,
		AllowedUsers:    spec.AllowedUsers,
		BlockedUsers:    spec.BlockedUsers,
		Labels:          spec.Labels,
	}
	if spec.Options != nil {
		s.Options = new(structpb.Struct)
		if err := protojson.Unmarshal(spec.Options, s.GetOptions()); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func timestampOf(t session.Time) *timestamppb.Timestamp {
	if t == 0 {
		return nil
	}
	return timestamppb.New(t.Std())
}
