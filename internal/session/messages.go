package session

import (
	"context"

	"github.com/parleyhq/parley/internal/fault"
)

// ListMessagesRequest asks for a page of a session's messages.
type ListMessagesRequest struct {
	ID        string
	PageSize  int32
	PageToken string
	Filter    string // AIP-160, over channel, sender, createTime
	OrderBy   string // "sequence", or "sequence desc"

	// Cursor is after which event the first page begins, in the order of sequence; empty or Beginning: with the oldest.
	Cursor string
}

// ListMessagesResult is a page of messages.
type ListMessagesResult struct {
	Events        []*Event
	NextPageToken string // empty: this was the last page
}

// ListMembersRequest asks for a page of a session's members.
type ListMembersRequest struct {
	ID        string
	PageSize  int32
	PageToken string
	Filter    string // AIP-160, over role, online
	OrderBy   string // "joinTime", or "joinTime desc"
}

// ListMembersResult is a page of members.
type ListMembersResult struct {
	Members       []MemberState
	NextPageToken string // empty: this was the last page
}

// ListMessages returns a page of the messages that are in a session's log.
//
// Faults: InvalidArgument for a filter, an order, a size, a token or a cursor that cannot be served; NotFound;
// PermissionDenied BLOCKED, NOT_A_MEMBER; Aborted UID_MISMATCH for a cursor of an earlier session of this id.
func (s *Service) ListMessages(ctx context.Context, caller Caller, r ListMessagesRequest) (ListMessagesResult, error) {
	var violations fault.Violations
	var from Cursor
	if r.Cursor != "" && r.Cursor != Beginning {
		var err error
		if from, err = ParseCursor(r.Cursor); err != nil {
			violations = fault.From(err).Violations
		}
	}
	list, err := s.beginList(ctx, caller, messageLists, listRequest{
		ID: r.ID, PageSize: r.PageSize, PageToken: r.PageToken, Filter: r.Filter, OrderBy: r.OrderBy,
	}, violations)
	if err != nil {
		return ListMessagesResult{}, err
	}
	if from != (Cursor{}) && r.PageToken == "" {
		if err := list.beginAfter(from); err != nil {
			return ListMessagesResult{}, err
		}
	}
	query := MessageQuery{UID: list.binding.session, Descending: list.binding.order.Descending, After: list.after, Size: list.size}
	if list.filter != nil {
		query.Match = list.filter.MatchMessage
	}
	page, err := s.store.Messages(ctx, &query)
	if err != nil {
		return ListMessagesResult{}, err
	}
	return ListMessagesResult{Events: page.Events, NextPageToken: s.tokens.encodeAfter(page.Next, list.binding)}, nil
}

// GetMessage returns a message that is in a session's log.
//
// Faults: InvalidArgument for ids that none can have; NotFound SESSION_NOT_FOUND, MESSAGE_NOT_FOUND; PermissionDenied
// BLOCKED, NOT_A_MEMBER.
func (s *Service) GetMessage(ctx context.Context, caller Caller, id, messageID string) (*Event, error) {
	if !ValidID(id) || !ValidID(messageID) {
		return nil, fault.Invalid("name", messageNameRule)
	}
	record, _, err := s.readable(ctx, caller, id)
	if err != nil {
		return nil, err
	}
	event, err := s.store.Message(ctx, record.UID, messageID)
	if err == nil && event == nil {
		err = fault.New(fault.NotFound, "MESSAGE_NOT_FOUND", "message not found in the session's log")
	}
	return event, err
}

// ListMembers returns a page of a session's members, to those who may read its log.
//
// Faults: as of ListMessages.
func (s *Service) ListMembers(ctx context.Context, caller Caller, r ListMembersRequest) (ListMembersResult, error) {
	list, err := s.beginList(ctx, caller, memberLists, listRequest(r), nil)
	if err != nil {
		return ListMembersResult{}, err
	}
	state := func(m *Member) MemberState {
		return MemberState{Member: m, Role: list.rules.Spec.role(m.User), Online: s.tail.Online(list.binding.session, m.User)}
	}
	query := MemberQuery{UID: list.binding.session, Descending: list.binding.order.Descending, After: Time(list.after), Size: list.size}
	if list.filter != nil {
		query.Match = func(m *Member) bool { return list.filter.MatchMember(state(m)) }
	}
	page, err := s.store.Members(ctx, &query)
	if err != nil {
		return ListMembersResult{}, err
	}
	result := ListMembersResult{NextPageToken: s.tokens.encodeAfter(int64(page.Next), list.binding)}
	for _, member := range page.Members {
		result.Members = append(result.Members, state(member))
	}
	return result, nil
}

// listRequest is what the requests for lists of one session's things have in common.
type listRequest struct {
	ID        string
	PageSize  int32
	PageToken string
	Filter    string
	OrderBy   string
}

// listShape is what such a list is of, and the one field that it is sorted by.
type listShape struct {
	kind    listKind
	filters *filterKind
	order   string
}

var (
	messageLists = listShape{kind: listMessages, filters: messageFilters, order: "sequence"}
	memberLists  = listShape{kind: listMembers, filters: memberFilters, order: "joinTime"}
)

// sessionList is such a list, as its caller may have it.
type sessionList struct {
	binding tokenBinding
	rules   *Rules
	filter  *Filter
	after   int64 // where the page before stopped; 0: from the beginning
	size    int
}

// beginList checks a request in the order that the API promises: its syntax, the session, the right to read it, and
// then the token, which is bound to the session. The violations are what is wrong with it besides.
func (s *Service) beginList(
	ctx context.Context, caller Caller, shape listShape, r listRequest, violations fault.Violations,
) (*sessionList, error) {
	list := &sessionList{binding: tokenBinding{kind: shape.kind, caller: caller}, size: pageSize(r.PageSize, &violations)}
	var err error
	if list.filter, err = parseFilter(shape.filters, r.Filter); err != nil {
		violations = append(violations, fault.From(err).Violations...)
	}
	if list.binding.order.Descending, err = parseDirection(r.OrderBy, shape.order); err != nil {
		violations = append(violations, fault.From(err).Violations...)
	}
	if err := violations.Err(); err != nil {
		return nil, err
	}
	record, rules, err := s.readable(ctx, caller, r.ID)
	if err != nil {
		return nil, err
	}
	list.rules = rules
	list.binding.session, list.binding.filter = record.UID, list.filter.Canonical()
	if list.after, err = s.tokens.decodeAfter(r.PageToken, list.binding); err != nil {
		return nil, err
	}
	return list, nil
}

// beginAfter has the first page begin after the cursor.
func (l *sessionList) beginAfter(from Cursor) error {
	switch {
	case l.binding.order.Descending:
		return fault.Invalid("cursor", "must be left out of a list in descending order")
	case from.UID != l.binding.session:
		return fault.New(fault.Aborted, "UID_MISMATCH", "cursor: is of an earlier session of this id: it was made anew")
	}
	l.after = from.Sequence
	return nil
}

// readable returns the session, its rules, and whether the caller may read its log, as a fault if not: NotFound if it
// is hidden, else PermissionDenied.
func (s *Service) readable(ctx context.Context, caller Caller, id string) (*Record, *Rules, error) {
	if err := checkSession(id); err != nil {
		return nil, nil, err
	}
	record, member, err := s.store.Get(ctx, id, caller.asMember())
	if err != nil {
		return nil, nil, err
	}
	if err := visible(caller, record, member); err != nil {
		return nil, nil, err
	}
	rules, err := record.Rules()
	if err != nil {
		return nil, nil, err
	}
	return record, rules, caller.mayRead(toRead, record, rules.Spec, member)
}
