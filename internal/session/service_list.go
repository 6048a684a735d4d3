package session

import (
	"context"

	"github.com/parleyhq/parley/internal/fault"
)

// ListRequest asks for a page of the sessions that the caller may see.
type ListRequest struct {
	PageSize  int32
	PageToken string
	Filter    string // AIP-160
	OrderBy   string // AIP-132
}

// ListResult is a page of sessions.
type ListResult struct {
	Records       []*Record
	NextPageToken string // empty: this was the last page
}

// List returns a page of the sessions that the caller may see.
//
// Faults: InvalidArgument for a filter, an order, a size or a token that cannot be served.
func (s *Service) List(ctx context.Context, caller Caller, r ListRequest) (ListResult, error) {
	query, binding, err := s.query(caller, r)
	if err != nil {
		return ListResult{}, err
	}
	page, err := s.store.List(ctx, query)
	if err != nil {
		return ListResult{}, err
	}
	result := ListResult{Records: page.Records}
	if page.Next != nil {
		result.NextPageToken = s.tokens.encode(page.Next, binding)
	}
	return result, nil
}

// query turns a request into what the store understands, and returns what a page token of it is bound to.
func (s *Service) query(caller Caller, r ListRequest) (*Query, tokenBinding, error) {
	var violations fault.Violations
	query := &Query{VisibleTo: caller.User, All: caller.Admin, Size: pageSize(r.PageSize, &violations)}
	var err error
	if query.Filter, err = ParseFilter(r.Filter); err != nil {
		violations = append(violations, fault.From(err).Violations...)
	}
	if query.Order, err = ParseOrder(r.OrderBy); err != nil {
		violations = append(violations, fault.From(err).Violations...)
	}
	if err := violations.Err(); err != nil {
		return nil, tokenBinding{}, err
	}
	binding := tokenBinding{filter: query.Filter.Canonical(), order: query.Order, caller: caller}
	if r.PageToken != "" {
		if query.After, err = s.tokens.decode(r.PageToken, binding); err != nil {
			return nil, tokenBinding{}, err
		}
	}
	return query, binding, nil
}
