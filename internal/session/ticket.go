package session

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"time"

	"github.com/parleyhq/parley/internal/fault"
)

const (
	ticketBytes = 32
	ticketMark  = 16 // bytes by which the server knows its own
	ticketLife  = time.Minute
)

// CreateTicketRequest asks for a ticket.
type CreateTicketRequest struct {
	ID        string
	RequestID string // AIP-155; empty: none
}

// CreateTicket makes a ticket with which one stream of the session can be opened as the caller, until it expires: after
// a minute, or when the caller's credential ends, if that is sooner. It is for those who may read the log now; whether
// they still may is looked at again when the stream is opened.
//
// A repeated requestId makes another ticket. To answer with the same one it would have to be kept as it is, and only its
// hash is; and a ticket that was lost on its way does no harm: nobody has it, and it expires by itself.
//
// Faults: Unauthenticated if the caller's credential has ended; InvalidArgument; NotFound; PermissionDenied
// NOT_A_MEMBER, BLOCKED; and those of Store.Write.
func (s *Service) CreateTicket(ctx context.Context, caller Caller, r CreateTicketRequest) (text string, expire Time, err error) {
	if err := s.credentials.check(caller, s.now); err != nil {
		return "", 0, err
	}
	if err := r.check(); err != nil {
		return "", 0, err
	}
	text = s.tickets.make()
	ticket := Ticket{
		Hash:   hashTicket(text),
		Caller: Caller{User: caller.User, Admin: caller.Admin, Until: caller.Until, Key: caller.Key},
	}
	decide := func(v *View) (Change, error) {
		if err := visible(caller, v.Current, v.Members[0]); err != nil {
			return Change{}, err
		}
		if err := caller.mayRead(toTicket, v.Current, v.Rules.Spec, v.Members[0]); err != nil {
			return Change{}, err
		}
		kept := ticket
		kept.UID, kept.Expire = v.Current.UID, v.Now.Add(ticketLife)
		if until := caller.Until; until != 0 {
			kept.Expire = min(kept.Expire, until)
		}
		if kept.Expire <= v.Now {
			return Change{}, tokenExpired()
		}
		expire = kept.Expire
		return Change{Ticket: &kept}, nil
	}
	if err := s.store.Write(ctx, &Write{ID: r.ID, Users: []string{caller.User}, Size: writeOverhead, Decide: decide}); err != nil {
		return "", 0, err
	}
	return text, expire, nil
}

func (r *CreateTicketRequest) check() error {
	var violations fault.Violations
	checkRequestID(r.RequestID, &violations)
	if err := violations.Err(); err != nil {
		return err
	}
	return checkSession(r.ID)
}

// UseTicket uses a ticket of the session up, and returns the caller as whom a stream may be opened with it. It is used up
// also if nothing comes of the stream: a ticket that could be tried again could be tried by somebody else.
//
// Faults: Unauthenticated TICKET_INVALID, the same for a ticket of another session as for none; TICKET_USED;
// TICKET_EXPIRED; TOKEN_EXPIRED or KEY_REVOKED if the credential that it was made with has ended; and those of
// Store.Write.
func (s *Service) UseTicket(ctx context.Context, id, ticket string) (Caller, error) {
	if !ValidID(id) || !s.tickets.made(ticket) {
		return Caller{}, ticketInvalid()
	}
	hash := hashTicket(ticket)
	var caller Caller
	decide := func(v *View) (Change, error) {
		if err := s.usable(v); err != nil {
			return Change{}, err
		}
		used := *v.Ticket
		used.Used = true
		caller = used.Caller
		return Change{Ticket: &used}, nil
	}
	if err := s.store.Write(ctx, &Write{ID: id, Ticket: &hash, Size: writeOverhead, Decide: decide}); err != nil {
		return Caller{}, err
	}
	return caller, nil
}

// usable is an Unauthenticated fault unless the ticket opens a stream of the session, now.
func (s *Service) usable(v *View) error {
	ticket := v.Ticket
	switch {
	case ticket == nil, v.Current == nil, ticket.UID != v.Current.UID:
		return ticketInvalid()
	case ticket.Used:
		return unauthenticated("TICKET_USED", "the ticket was used already")
	case ticket.Expire <= v.Now:
		return unauthenticated("TICKET_EXPIRED", "the ticket has expired")
	default:
		return s.credentials.check(ticket.Caller, func() Time { return v.Now })
	}
}

// tickets makes tickets, of random bits and a mark that only the server can make. So a made-up one is known as such
// without a look into the store.
type tickets struct {
	keys [][]byte // the newest first
}

func (t tickets) make() string {
	var b [ticketBytes + ticketMark]byte
	rand.Read(b[:ticketBytes]) // never fails: the runtime ends the process instead
	copy(b[ticketBytes:], ticketMAC(t.keys[0], b[:ticketBytes]))
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// made tells whether the text is a ticket that was made here. The decoder would skip line ends.
func (t tickets) made(text string) bool {
	if len(text) != base64.RawURLEncoding.EncodedLen(ticketBytes+ticketMark) || strings.ContainsAny(text, "\r\n") {
		return false
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil {
		return false
	}
	for _, key := range t.keys {
		if hmac.Equal(b[ticketBytes:], ticketMAC(key, b[:ticketBytes])) {
			return true
		}
	}
	return false
}

func ticketMAC(key, random []byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write(random)
	return mac.Sum(nil)[:ticketMark]
}

func hashTicket(text string) CredentialHash { return sha256.Sum256([]byte(text)) }

func ticketInvalid() error {
	return unauthenticated("TICKET_INVALID", "the ticket is not one of this session, or has expired long ago")
}

// AppendTicketJSON appends a ticket as the API answers it.
func AppendTicketJSON(b []byte, text string, expire Time) []byte {
	b = append(b, `{"ticket":`...)
	b = appendString(b, text)
	b = appendTime(b, "expireTime", expire)
	return append(b, '}')
}
