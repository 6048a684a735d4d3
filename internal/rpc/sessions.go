package rpc

import (
	"context"

	"google.golang.org/protobuf/types/known/emptypb"

	conversationv1 "github.com/parleyhq/parley/gen/parley/conversation/v1"
	"github.com/parleyhq/parley/internal/session"
)

// sessions implements the API's service. What it embeds answers Unimplemented for what a later contract adds.
type sessions struct {
	conversationv1.UnimplementedSessionServiceServer

	service *session.Service
}

// CreateSession implements the method of this name.
func (s *sessions) CreateSession(ctx context.Context, r *conversationv1.CreateSessionRequest) (*conversationv1.Session, error) {
	draft, err := draftOf(r.GetSession())
	if err != nil {
		return nil, err
	}
	result, err := s.service.Create(ctx, callerOf(ctx), session.CreateRequest{
		Draft:     draft,
		SessionID: r.GetSessionId(),
		RequestID: r.GetRequestId(),
	})
	if err != nil {
		return nil, err
	}
	return sessionOf(result)
}

// GetSession implements the method of this name.
func (s *sessions) GetSession(ctx context.Context, r *conversationv1.GetSessionRequest) (*conversationv1.Session, error) {
	id, err := session.ParseName(r.GetName())
	if err != nil {
		return nil, err
	}
	record, err := s.service.Get(ctx, callerOf(ctx), id)
	if err != nil {
		return nil, err
	}
	return sessionOf(session.Result{Record: record})
}

// ListSessions implements the method of this name.
func (s *sessions) ListSessions(ctx context.Context, r *conversationv1.ListSessionsRequest) (*conversationv1.ListSessionsResponse, error) {
	page, err := s.service.List(ctx, callerOf(ctx), session.ListRequest{
		PageSize:  r.GetPageSize(),
		PageToken: r.GetPageToken(),
		Filter:    r.GetFilter(),
		OrderBy:   r.GetOrderBy(),
	})
	if err != nil {
		return nil, err
	}
	response := &conversationv1.ListSessionsResponse{NextPageToken: page.NextPageToken}
	for _, record := range page.Records {
		item, err := sessionOf(session.Result{Record: record})
		if err != nil {
			return nil, err
		}
		response.Sessions = append(response.Sessions, item)
	}
	return response, nil
}

// UpdateSession implements the method of this name.
func (s *sessions) UpdateSession(ctx context.Context, r *conversationv1.UpdateSessionRequest) (*conversationv1.Session, error) {
	id, err := session.ParseName(r.GetSession().GetName())
	if err != nil {
		return nil, err
	}
	mask, err := session.ParseMask(r.GetUpdateMask().GetPaths())
	if err != nil {
		return nil, err
	}
	draft, err := draftOf(r.GetSession())
	if err != nil {
		return nil, err
	}
	result, err := s.service.Update(ctx, callerOf(ctx), session.UpdateRequest{
		ID:        id,
		Draft:     draft,
		Mask:      mask,
		RequestID: r.GetRequestId(),
	})
	if err != nil {
		return nil, err
	}
	return sessionOf(result)
}

// DeleteSession implements the method of this name.
func (s *sessions) DeleteSession(ctx context.Context, r *conversationv1.DeleteSessionRequest) (*emptypb.Empty, error) {
	id, err := session.ParseName(r.GetName())
	if err != nil {
		return nil, err
	}
	err = s.service.Delete(ctx, callerOf(ctx), session.DeleteRequest{ID: id, ETag: r.GetEtag(), RequestID: r.GetRequestId()})
	if err != nil {
		return nil, err
	}
	return new(emptypb.Empty), nil
}
