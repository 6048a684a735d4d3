package session

import (
	"context"
	"slices"
)

// followPage is how many sessions Followed asks for at once.
const followPage = 100

// Readable returns the session with the id, if the caller may read its log now.
//
// Faults: InvalidArgument; NotFound; PermissionDenied BLOCKED, NOT_A_MEMBER.
func (s *Service) Readable(ctx context.Context, caller Caller, id string) (*Record, error) {
	record, _, err := s.readable(ctx, caller, id)
	if err != nil {
		return nil, err
	}
	return record, nil
}

// Followed returns the sessions that the caller, who is no administrator, is an owner or a member of, or is allowed in, and
// whose logs it may read now: the newest first, and at most so many.
func (s *Service) Followed(ctx context.Context, caller Caller, most int) ([]*Record, error) {
	query := &Query{VisibleTo: caller.User, Own: true, Order: Order{Descending: true}}
	var followed []*Record
	for len(followed) < most {
		query.Size = min(most-len(followed), followPage)
		page, err := s.store.List(ctx, query)
		if err != nil {
			return nil, err
		}
		for _, record := range page.Records {
			if may, err := s.follows(ctx, caller, record); err != nil {
				return nil, err
			} else if may {
				followed = append(followed, record)
			}
		}
		if page.Next == nil {
			break
		}
		query.After = page.Next
	}
	return slices.Clip(followed), nil
}

// follows tells whether the caller may read the session's log. Who must be a member for that is looked up.
func (s *Service) follows(ctx context.Context, caller Caller, record *Record) (bool, error) {
	rules, err := record.Rules()
	if err != nil {
		return false, err
	}
	if caller.mayRead(toRead, record, rules.Spec, nil) == nil {
		return true, nil
	}
	current, member, err := s.store.Get(ctx, record.ID, caller.User)
	if err != nil || current == nil || current.UID != record.UID {
		return false, err
	}
	return caller.mayRead(toRead, record, rules.Spec, member) == nil, nil
}
