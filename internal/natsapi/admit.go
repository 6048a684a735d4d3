package natsapi

import (
	"context"
	"encoding/base64"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/parleyhq/parley/internal/auth"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/gate"
	"github.com/parleyhq/parley/internal/session"
)

// Client is who connects to the NATS server, as far as it has said.
type Client struct {
	ID       uint64 // of the connection
	Token    string
	User     string // whom to act as, as Parley-User has it; empty: whoever the credential is of
	Password string // the credential, if there is no Token
	Name     string
	Address  netip.Addr
	Leaf     bool
}

// Grant is what a client may do. Subjects that are denied are so whatever is allowed.
type Grant struct {
	Name          string // of the user
	Publish       []string
	Subscribe     []string
	DenyPublish   []string
	DenySubscribe []string
	Expire        time.Time // when the connection is to end; zero: never
	Unlimited     bool      // it may send as much as it likes
}

// maxFollowed is how many sessions' mirrors a client may subscribe to: the server keeps a list of them for each.
const maxFollowed = 1000

// Subjects that are granted.
const (
	requestSubjects   = sessionsSubject + ">"
	mirrorSubjects    = sessionsSubject + "*.events.>"
	discoverySubjects = "$SRV.>"
	internalSubjects  = "parley.internal.>"
)

// Admit finds out who connects, and what they may do: send requests, and subscribe to their own inbox and to the mirrors
// of the sessions whose logs they may read now. If that ends, so does the connection; see rights. A right that is gained
// holds from the next connection on.
//
// A connection counts as a stream that its user has open, until Gone. Its faults are those of gate.Call.Authenticate and
// gate.Call.OpenStream.
func (a *API) Admit(ctx context.Context, client Client) (Grant, error) {
	call, err := a.Gate.Arrive(gate.Arrival{
		ID: gate.RequestID(nil), Transport: "nats", Method: gate.Connect, Address: client.Address,
	})
	var grant Grant
	if err == nil {
		grant, err = a.admitted(ctx, call, client)
	}
	call.End(ctx, err)
	if err != nil {
		return Grant{}, gate.Shown(ctx, a.Log, call.ID, err, slog.String("method", call.Method.String()))
	}
	return grant, nil
}

func (a *API) admitted(ctx context.Context, call *gate.Call, client Client) (Grant, error) {
	if err := call.Authenticate(ctx, client.authRequest()); err != nil {
		return Grant{}, err
	}
	caller := call.Caller
	grant := Grant{
		Name:          caller.User,
		Publish:       []string{requestSubjects, discoverySubjects},
		Subscribe:     []string{InboxPrefix(caller.User) + ".>"},
		DenyPublish:   []string{mirrorSubjects, internalSubjects},
		DenySubscribe: []string{internalSubjects},
	}
	if caller.Until != 0 {
		grant.Expire = caller.Until.Std()
	}
	switch {
	case a.Dev:
		grant.Publish, grant.Subscribe, grant.Unlimited = []string{">"}, []string{">"}, true
		return grant, nil
	case caller.Admin && a.mirror != nil:
		grant.Subscribe = append(grant.Subscribe, mirrorSubjects)
	}
	closed, err := call.OpenStream()
	if err != nil {
		return Grant{}, err
	}
	if err := a.rights.enter(ctx, client.ID, caller, closed, &grant); err != nil {
		closed()
		return Grant{}, err
	}
	return grant, nil
}

// authRequest is the connection as far as it says who is asking.
func (c *Client) authRequest() auth.Request {
	said := auth.Request{Host: localhost, Header: http.Header{}}
	credential := c.Token
	if credential == "" {
		credential = c.Password
	}
	if credential != "" {
		said.Header.Set(auth.HeaderAuthorization, "Bearer "+credential)
	}
	if c.User != "" {
		said.Header.Set(auth.HeaderUser, c.User)
	}
	return said
}

// InboxPrefix begins the subjects on which a user gets answers, as nats.CustomInboxPrefix and the command line's
// --inbox-prefix have it: "_INBOX.", and the user, if that is letters, digits, underscores and hyphens; else "~" and the
// user in base64, of the alphabet for URLs and without padding.
func InboxPrefix(user string) string {
	const plain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
	if user != "" && strings.Trim(user, plain) == "" {
		return "_INBOX." + user
	}
	return "_INBOX.~" + base64.RawURLEncoding.EncodeToString([]byte(user))
}

// mayHaveEnded tells whether what was found out about a right says that it has ended.
func mayHaveEnded(err error) bool {
	return fault.Is(err, fault.NotFound) || fault.Is(err, fault.PermissionDenied)
}

// endsRights tells whether what has happened may have ended somebody's right to read the log.
func endsRights(kind session.EventKind) bool {
	switch kind {
	case session.SessionUpdated, session.SessionDeleted, session.SessionExpired, session.MemberLeft, session.MemberRemoved:
		return true
	default:
		return false
	}
}
