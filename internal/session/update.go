package session

import (
	"context"
	"slices"

	"github.com/parleyhq/parley/internal/fault"
)

// UpdateRequest asks for another version of a session.
type UpdateRequest struct {
	ID        string
	Draft     *Draft
	Mask      *Mask
	RequestID string
}

// Update changes the fields of a session that the mask names. The Draft's etag, if it has one, must be the session's.
//
// Faults: InvalidArgument with every violation of the merged session; NotFound; PermissionDenied NOT_AN_OWNER; Aborted
// ETAG_MISMATCH; InvalidArgument REQUEST_ID_REUSED; and those of Store.Write.
func (s *Service) Update(ctx context.Context, caller Caller, r UpdateRequest) (Result, error) {
	violations := fault.Violations(nil)
	checkRequestID(r.RequestID, &violations)
	if r.Draft.Name != "" && r.Draft.Name != NamePrefix+r.ID {
		violations.Addf("name", "must be the session of the request, or left out")
	}
	if err := violations.Err(); err != nil {
		return Result{}, err
	}
	if err := checkID(r.ID); err != nil {
		return Result{}, err
	}

	update := update{service: s, caller: caller, request: r}
	document := r.Draft.AppendJSON(nil)
	write := Write{ID: r.ID, Users: []string{caller.User}, Size: len(document) + writeOverhead, Decide: update.decide}
	if r.Mask.fieldsOf(r.Draft).Has(FieldBlockedUsers) && len(r.Draft.BlockedUsers) <= MaxUsers { // more are refused anyway
		write.Users = append(write.Users, r.Draft.BlockedUsers...)
	}
	if r.RequestID != "" {
		write.Request = s.requests.key("update", caller, r.ID, r.RequestID)
		update.digest = s.requests.digest(r.Draft, document, r.Mask.String())
	}
	if err := s.store.Write(ctx, &write); err != nil {
		return Result{}, err
	}
	return update.result, nil
}

// update is one update while it waits for, and passes through, its transaction.
type update struct {
	service *Service
	caller  Caller
	request UpdateRequest
	digest  Digest

	result Result
}

func (u *update) decide(v *View) (Change, error) {
	draft := u.request.Draft
	if v.Earlier != nil {
		return Change{}, u.repeat(v)
	}
	before, err := changeable(u.caller, v, draft.ETag)
	if err != nil {
		return Change{}, err
	}
	merged, secretChanges, err := u.request.Mask.Apply(before, draft)
	if err != nil {
		return Change{}, err
	}
	after, violations := &merged, fault.Violations(nil)
	settings := after.validate(&violations)
	if secretChanges && draft.SecretKey != "" {
		validateSecretKey(draft.SecretKey, &violations)
	}
	if err := violations.Err(); err != nil {
		return Change{}, err
	}

	departure := departure{record: *v.Current, rules: &Rules{Spec: after, Settings: settings}, now: v.Now, actor: u.caller.User}
	record := &departure.record
	record.Type, record.DisplayName = after.Type, after.DisplayName
	record.UpdateTime = v.Now
	record.Document = after.AppendJSON(make([]byte, 0, len(record.Document)+64))
	idle := Time(0)
	if record.Head.Members == 0 {
		idle = v.Now
	}
	record.ExpireTime = settings.deadlineSince(after.Type, record.CreateTime, idle)
	u.result = Result{Record: record}
	if secretChanges {
		u.setSecret(record)
	}
	record.Head.Sequence++ // of session.updated, which comes first and shows the session as it is after all of it
	updated := &Event{
		UID: record.UID, ID: record.ID, Kind: SessionUpdated, Sequence: record.Head.Sequence, Time: v.Now, Actor: u.caller.User,
	}
	u.removeBlocked(v, &departure)
	updated.Document = record.AppendJSON(make([]byte, 0, len(record.Document)+writeOverhead), "")
	return Change{
		Kind: Update, Record: record, Before: before.Principals(), After: after.Principals(), Digest: u.digest,
		Leave: departure.users, Events: append([]*Event{updated}, departure.events...),
	}, nil
}

// removeBlocked ends the memberships of those who are blocked from now on.
func (u *update) removeBlocked(v *View, d *departure) {
	for _, member := range v.Members[1:] {
		if member != nil && slices.Contains(d.rules.Spec.BlockedUsers, member.User) && !slices.Contains(d.users, member.User) {
			d.add(MemberRemoved, member)
		}
	}
}

func (u *update) setSecret(record *Record) {
	record.Secret = Secret{}
	if secret := u.request.Draft.SecretKey; secret != "" {
		record.Secret = u.service.keys.seal(record.UID, secret)
		u.result.SecretKey = secret
	}
}

// repeat answers an update that was already done, with the session's present state.
func (u *update) repeat(v *View) error {
	if err := sameRequest(v.Earlier, u.digest); err != nil {
		return err
	}
	if _, err := changeable(u.caller, v, ""); err != nil {
		return err
	}
	u.result = u.service.repeated(v.Current, u.request.Draft.SecretKey)
	return nil
}
