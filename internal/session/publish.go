package session

import (
	"context"
	"slices"

	"github.com/parleyhq/parley/internal/fault"
)

// PublishRequest asks for a message to be published.
type PublishRequest struct {
	ID        string
	Name      string // who publishes; empty: the caller
	Message   *Message
	UID       string // if not empty: only if the session has this uid
	RequestID string
}

// Publish appends a message to the session's log, or, on a channel without a history, sends it to those who listen
// now. It returns the message's event, whose cursor is the acknowledgment: it has none if the message was not stored.
// A backend that names a user publishes as that user.
//
// Faults: InvalidArgument with every violation; InvalidArgument REQUEST_ID_REUSED; NotFound; PermissionDenied
// ACTING_AS_ANOTHER, BLOCKED, NOT_A_MEMBER; Aborted UID_MISMATCH; AlreadyExists MESSAGE_EXISTS; and those of Store.Write.
func (s *Service) Publish(ctx context.Context, caller Caller, r PublishRequest) (*Event, error) {
	var violations fault.Violations
	caller.checkActor(r.Name, &violations)
	checkRequestID(r.RequestID, &violations)
	if r.Message == nil {
		report(&violations, "message", "is required")
		return nil, violations.Err()
	}
	r.Message.validate(&violations)
	if err := violations.Err(); err != nil {
		return nil, err
	}
	if err := checkSession(r.ID); err != nil {
		return nil, err
	}
	caller = caller.actingAs(r.Name)
	p := publication{caller: caller, user: actor(caller, r.Name), request: r}
	p.document = r.Message.AppendJSON(make([]byte, 0, r.Message.Size()+len(r.Message.Metadata)+128))
	p.users = [...]string{caller.User, p.user}
	write := Write{ID: r.ID, Users: p.users[:], Size: len(p.document) + writeOverhead, Decide: p.decide}
	if r.Message.ID != "" || r.Message.ReplyTo != "" {
		write.Messages = []string{r.Message.ID, r.Message.ReplyTo}
	}
	if r.RequestID != "" {
		write.Request = s.requests.key("publish", caller, r.ID, r.RequestID)
		p.digest = s.requests.publishDigest(&r, p.document)
	}
	if err := s.store.Write(ctx, &write); err != nil {
		return nil, err
	}
	if p.repeated && p.event.Sequence > 0 {
		return s.published(ctx, p.event)
	}
	return p.event, nil
}

// published is the event that an earlier request has stored. Of one that is trimmed, what the repeat says is left: the
// request was the same, only the channel that it left open may have been another.
func (s *Service) published(ctx context.Context, repeated *Event) (*Event, error) {
	log, err := s.store.Log(ctx, repeated.UID, repeated.Sequence-1, 1, 0)
	if err != nil {
		return nil, err
	}
	if len(log.Events) > 0 && log.Events[0].Sequence == repeated.Sequence {
		return log.Events[0], nil
	}
	return repeated, nil
}

// publication is one message while it waits for, and passes through, its transaction.
type publication struct {
	caller   Caller
	user     string
	users    [2]string
	request  PublishRequest
	document []byte
	digest   Digest

	event    *Event
	events   [1]*Event
	repeated bool
}

func (p *publication) decide(v *View) (Change, error) {
	if err := p.admit(v); err != nil {
		return Change{}, err
	}
	channel := p.request.Message.Channel
	if channel == 0 {
		channel = v.Rules.Spec.DefaultChannels[0]
	}
	event := &Event{
		UID: v.Current.UID, ID: v.Current.ID, Kind: MessagePublished, Time: v.Now, Actor: p.user,
		Channel: channel, MessageID: p.request.Message.ID, Document: p.document,
	}
	p.event, p.events = event, [1]*Event{event}
	if p.repeated = v.Earlier != nil; p.repeated {
		event.Time, event.Sequence = v.Earlier.Time, v.Earlier.Sequence
		return Change{}, nil
	}
	record := *v.Current
	if !slices.Contains(v.Rules.Settings.Ephemeral, channel) {
		record.Head.Sequence++
		record.Head.LastMessageTime = v.Now
		event.Sequence = record.Head.Sequence
	}
	return Change{Kind: Append, Record: &record, Events: p.events[:], Digest: p.digest}, nil
}

// admit checks, in the order that the API promises, what a publish must pass.
func (p *publication) admit(v *View) error {
	if v.Earlier != nil {
		if err := sameRequest(v.Earlier, p.digest); err != nil {
			return err
		}
	}
	if err := visible(p.caller, v.Current, v.Members[0]); err != nil {
		return err
	}
	if err := mayActAs(p.caller, p.user); err != nil {
		return err
	}
	user := Caller{User: p.user, Admin: p.caller.Admin}
	switch v.Current.access().judgeUser(v.Rules.Spec, p.user, user.standing(v.Members[1]), toPublish) {
	case permitted:
	case forbidden:
		return userBlocked()
	default:
		return notAMember("is no member")
	}
	if v.Earlier != nil {
		return nil
	}
	if uid := p.request.UID; uid != "" && uid != v.Current.UID.String() {
		return uidMismatch()
	}
	return p.fits(v)
}

// fits checks the message against the session's settings and its log.
func (p *publication) fits(v *View) error {
	m := p.request.Message
	if most := v.Rules.Settings.MaxMessageBytes; int64(m.Size()) > most {
		return fault.Invalid("message", "must have a content of at most %d bytes, as options.maxMessageBytes says", most)
	}
	if len(v.Messages) == 0 {
		return nil
	}
	if m.ReplyTo != "" && !v.Messages[1] {
		return fault.Invalid("message.replyTo", "must be the messageId of a message in the session's log")
	}
	if m.ID != "" && v.Messages[0] {
		return fault.New(fault.AlreadyExists, "MESSAGE_EXISTS", "message.messageId: the session has a message of this id")
	}
	return nil
}

// validate adds to v each rule that the message breaks, whatever the session.
func (m *Message) validate(v *fault.Violations) {
	if m.ID != "" && !ValidID(m.ID) {
		report(v, "message.messageId", idRule)
	}
	if m.ReplyTo != "" && !ValidID(m.ReplyTo) {
		report(v, "message.replyTo", idRule)
	}
	if m.Channel < 0 {
		report(v, "message.channel", "must be positive, or be left out")
	}
	m.validateContent(v)
	if len(m.ContentType) > MaxContentTypeBytes {
		report(v, "message.contentType", "must be at most %d bytes", MaxContentTypeBytes)
	}
	checkFlaw(v, "message.contentType", lineFlaw(m.ContentType))
	if len(m.Metadata) > MaxOptionsBytes {
		report(v, "message.metadata", "must be at most %d bytes as compact JSON", MaxOptionsBytes)
	}
}

func (m *Message) validateContent(v *fault.Violations) {
	switch {
	case m.Contents == 0:
		report(v, "message", "must have one of text, data and blob")
	case m.Contents > 1:
		report(v, "message", "must have only one of text, data and blob")
	case m.Kind == ContentText && m.Text == "":
		report(v, "message.text", "must not be empty")
	case m.Kind == ContentBlob && len(m.Blob) == 0:
		report(v, "message.blob", "must not be empty")
	case m.Kind == ContentBlob && m.ContentType == "":
		report(v, "message.contentType", "is required for a blob")
	}
	if m.Size() > MaxMessageBytes {
		report(v, "message", "must have a content of at most %d bytes", MaxMessageBytes)
	}
	checkFlaw(v, "message.text", textFlaw(m.Text))
}
