package session

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"time"

	"github.com/parleyhq/parley/internal/fault"
)

// Service holds the rules: what a request may do, and what it does. It is safe for concurrent use.
type Service struct {
	store       Store
	tail        Tail
	keys        *KeyRing
	requests    requestHasher
	tokens      *pageTokens
	tickets     tickets
	guesses     Guesses
	credentials *credentials
	sessions    int // how many a user may have created; 0: any number
	now         Clock
}

// NewService returns the rules over a store, and the tail that the store's commits enter. The ring must be the one that
// the store was opened with.
func NewService(store Store, tail Tail, keys *KeyRing) *Service {
	return &Service{
		store:       store,
		tail:        tail,
		keys:        keys,
		requests:    newRequestHasher(keys.first("requests")),
		tokens:      newPageTokens(keys.all("page tokens")...),
		tickets:     tickets{keys: keys.all("tickets")},
		guesses:     newGuesses(Now),
		credentials: newCredentials(),
		now:         Now,
	}
}

// LimitSessions bounds how many sessions may exist that one user has created; 0: any number. Callers who are not
// Limited are not bound. It is called before the Service is used.
func (s *Service) LimitSessions(most int) { s.sessions = most }

// ShareGuesses counts wrong secretKeys where other nodes do, too. It is called before the Service is used.
func (s *Service) ShareGuesses(guesses Guesses) { s.guesses = guesses }

// RevokeKey has the streams that were opened with a key end, and whatever is asked with it from now on refused; see
// Caller.Key. It may be called for a key that was revoked before.
func (s *Service) RevokeKey(id string) { s.credentials.revoke(id) }

// RestoreKey has a key taken again that was revoked, such as one that comes back into its key set. The streams that have
// ended stay so. It may be called for a key that was not revoked.
func (s *Service) RestoreKey(id string) { s.credentials.restore(id) }

// CheckCredential is an Unauthenticated fault if the caller's credential has ended. It is for callers who were found a
// while ago, such as those of a WebSocket's frames: its stream ends with the credential, but only once its client has
// read what was sent before.
func (s *Service) CheckCredential(caller Caller) error { return s.credentials.check(caller, s.now) }

// Result is a session as a write leaves it. SecretKey is set only in the answer of the write that set it.
type Result struct {
	Record    *Record
	SecretKey string
}

// AppendJSON appends the session as the API answers it.
func (r Result) AppendJSON(b []byte) []byte { return r.Record.AppendJSON(b, r.SecretKey) }

// CreateRequest asks for a new session.
type CreateRequest struct {
	Draft     *Draft
	SessionID string // the wanted id; empty: from Draft.Name, or else made by the server
	RequestID string // AIP-155; empty: none
}

// Create makes a session. The caller must be among its owners, unless an administrator.
//
// Faults: InvalidArgument with every violation; InvalidArgument REQUEST_ID_REUSED; PermissionDenied NOT_AN_OWNER;
// AlreadyExists SESSION_EXISTS; ResourceExhausted QUOTA_SESSIONS; and those of Store.Write.
func (s *Service) Create(ctx context.Context, caller Caller, r CreateRequest) (Result, error) {
	draft, violations := r.Draft, fault.Violations(nil)
	id := idFrom(r.SessionID, draft.Name, &violations)
	checkRequestID(r.RequestID, &violations)
	settings := draft.validate(&violations)
	if draft.SecretKey != "" {
		validateSecretKey(draft.SecretKey, &violations)
	}
	if err := violations.Err(); err != nil {
		return Result{}, err
	}
	if !caller.mayCreate(&draft.Spec) {
		return Result{}, notAnOwner("create a session without being one of its owners")
	}

	creation := creation{service: s, caller: caller, draft: draft, id: id, settings: settings, random: randomBits()}
	creation.document = draft.AppendJSON(make([]byte, 0, len(draft.Options)+writeOverhead))
	creation.principals = draft.Principals()
	write := Write{ID: id, Users: []string{caller.User}, Size: len(creation.document) + writeOverhead, Decide: creation.decide}
	if s.sessions > 0 && caller.Limited() {
		write.Creator = caller.User
	}
	if r.RequestID != "" {
		write.Request = s.requests.key("create", caller, "", r.RequestID)
		creation.digest = s.requests.digest(draft, creation.document, id)
	}
	if err := s.store.Write(ctx, &write); err != nil {
		return Result{}, err
	}
	return creation.result, nil
}

// randomBits makes a UID unguessable.
func randomBits() uint64 {
	var b [8]byte
	rand.Read(b[:]) // never fails: the runtime ends the process instead
	return binary.NativeEndian.Uint64(b[:])
}

// writeOverhead is about what a waiting write holds besides its document.
const writeOverhead = 512

// creation is one create while it waits for, and passes through, its transaction.
type creation struct {
	service    *Service
	caller     Caller
	draft      *Draft
	id         string
	settings   Settings
	random     uint64
	document   []byte
	principals []string
	digest     Digest

	result Result
}

func (c *creation) decide(v *View) (Change, error) {
	if v.Earlier != nil {
		return Change{}, c.repeat(v)
	}
	if v.Current != nil {
		return Change{}, fault.New(fault.AlreadyExists, "SESSION_EXISTS", "sessionId: the id is taken")
	}
	if most := c.service.sessions; most > 0 && c.caller.Limited() && v.Created >= most {
		return Change{}, tooManySessions(most)
	}
	record := &Record{
		UID:         NewUID(v.Now, c.random),
		ID:          c.id,
		Type:        c.draft.Type,
		DisplayName: c.draft.DisplayName,
		Creator:     c.caller.User,
		CreateTime:  v.Now,
		UpdateTime:  v.Now,
		ExpireTime:  c.settings.deadline(c.draft.Type, v.Now),
		Document:    c.document,
		Head:        Head{Sequence: 1},
	}
	if record.ID == "" {
		record.ID = record.UID.String()
	}
	if c.draft.SecretKey != "" {
		record.Secret = c.service.keys.seal(record.UID, c.draft.SecretKey)
	}
	c.result = Result{Record: record, SecretKey: c.draft.SecretKey}
	return Change{Kind: Create, Record: record, After: c.principals, Digest: c.digest}, nil
}

// quotaWait is when a caller with too many sessions may ask again. Nobody knows when one of them will end.
const quotaWait = time.Minute

func tooManySessions(most int) error {
	return fault.New(fault.ResourceExhausted, "QUOTA_SESSIONS",
		"the caller has created as many sessions as may exist of one user's making, %d: delete one first", most).After(quotaWait)
}

// repeat answers a create that was already done: with the present state of what it made, by the present rights.
func (c *creation) repeat(v *View) error {
	if v.Earlier.Digest != c.digest {
		return requestIDReused()
	}
	if err := visible(c.caller, v.Current, v.Members[0]); err != nil {
		return err
	}
	c.result = c.service.repeated(v.Current, c.draft.SecretKey)
	return nil
}

// repeated is the answer to a repeated write: the secretKey comes from the repeat's own body, if it still is the one.
func (s *Service) repeated(current *Record, secretKey string) Result {
	if secretKey != "" && !s.keys.opens(current.Secret, current.UID, secretKey) {
		secretKey = ""
	}
	return Result{Record: current, SecretKey: secretKey}
}

// Get returns the session with the id, if the caller may see it.
//
// Faults: InvalidArgument for an id that none can have; NotFound, the same for a hidden session as for none.
func (s *Service) Get(ctx context.Context, caller Caller, id string) (*Record, error) {
	if err := checkID(id); err != nil {
		return nil, err
	}
	record, member, err := s.store.Get(ctx, id, caller.asMember())
	if err != nil {
		return nil, err
	}
	return record, visible(caller, record, member)
}

// DeleteRequest asks for the end of a session.
type DeleteRequest struct {
	ID        string
	ETag      string // if not empty: only if the session is still this version
	RequestID string
}

// Delete ends a session for good: its id is free at once, its uid never comes back.
//
// Faults: NotFound; PermissionDenied NOT_AN_OWNER; Aborted ETAG_MISMATCH; InvalidArgument REQUEST_ID_REUSED; and those
// of Store.Write.
func (s *Service) Delete(ctx context.Context, caller Caller, r DeleteRequest) error {
	violations := fault.Violations(nil)
	checkRequestID(r.RequestID, &violations)
	if err := violations.Err(); err != nil {
		return err
	}
	if err := checkID(r.ID); err != nil {
		return err
	}
	write := Write{ID: r.ID, Users: []string{caller.User}, Size: writeOverhead}
	var digest Digest
	if r.RequestID != "" {
		write.Request = s.requests.key("delete", caller, r.ID, r.RequestID)
		digest = s.requests.digest(nil, nil, r.ETag)
	}
	write.Decide = func(v *View) (Change, error) {
		if v.Earlier != nil {
			return Change{}, sameRequest(v.Earlier, digest)
		}
		if _, err := changeable(caller, v, r.ETag); err != nil {
			return Change{}, err
		}
		ended := v.Current.Ended(SessionDeleted, caller.User, v.Now)
		return Change{Kind: End, Events: []*Event{ended}, Digest: digest}, nil
	}
	return s.store.Write(ctx, &write)
}

// visible is NotFound unless there is a session that the caller may see.
func visible(caller Caller, record *Record, member *Member) error {
	if record == nil || !caller.maySee(record, member) {
		return notFound()
	}
	return nil
}

// changeable checks, in the order that the API promises, that there is a session, that the caller may see it and may
// change it, and that it is the version that the caller knows.
func changeable(caller Caller, v *View, etag string) (*Spec, error) {
	current := v.Current
	if err := visible(caller, current, v.Members[0]); err != nil {
		return nil, err
	}
	spec := v.Rules.Spec
	if !caller.may(toChange, current, spec, v.Members[0]) {
		return nil, notAnOwner("change the session: only its owners may")
	}
	if etag != "" && etag != current.ETag() {
		return nil, fault.New(fault.Aborted, "ETAG_MISMATCH", "etag: the session has changed since; read it again")
	}
	return spec, nil
}

func notFound() error { return fault.New(fault.NotFound, "SESSION_NOT_FOUND", "session not found") }

func notAnOwner(what string) error {
	return fault.New(fault.PermissionDenied, "NOT_AN_OWNER", "the caller may not %s", what)
}
