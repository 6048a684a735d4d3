package gate

import (
	"github.com/parleyhq/parley/internal/limit"
	"github.com/parleyhq/parley/internal/session"
)

// Method is one of the API's methods.
type Method uint8

// The methods.
const (
	Other Method = iota // what is none of the API's
	CreateSession
	GetSession
	ListSessions
	UpdateSession
	DeleteSession
	JoinSession
	LeaveSession
	PublishMessage
	ListMessages
	GetMessage
	ListMembers
	SessionEvents
	CreateTicket

	Connect // to NATS, with a credential: no method, but as much of a call
)

// methods is what each method is called, what it counts as, and whether the record of who did what has it when it is
// done. A message that was published is not in the record: the session's log has it, with its sender.
var methods = [...]struct {
	name    string
	class   limit.Class
	changes bool
}{
	Other:          {name: "Other"},
	CreateSession:  {name: "CreateSession", class: limit.Create, changes: true},
	GetSession:     {name: "GetSession"},
	ListSessions:   {name: "ListSessions"},
	UpdateSession:  {name: "UpdateSession", changes: true},
	DeleteSession:  {name: "DeleteSession", changes: true},
	JoinSession:    {name: "JoinSession", changes: true},
	LeaveSession:   {name: "LeaveSession", changes: true},
	PublishMessage: {name: "PublishMessage", class: limit.Publish},
	ListMessages:   {name: "ListMessages"},
	GetMessage:     {name: "GetMessage"},
	ListMembers:    {name: "ListMembers"},
	SessionEvents:  {name: "SessionEvents", class: limit.Stream},
	CreateTicket:   {name: "CreateTicket", changes: true},
	Connect:        {name: "Connect"},
}

var byName = func() map[string]Method {
	named := make(map[string]Method, len(methods))
	for m := range methods {
		named[methods[m].name] = Method(m)
	}
	return named
}()

// MethodNamed is the method with the name that the API's service has for it; Other if it has none.
func MethodNamed(name string) Method { return byName[name] }

// How large the body of a request may be. That of a publish has room for the largest content in base64, and for what is
// around it.
const (
	MaxBody        = 1 << 20
	MaxPublishBody = session.MaxMessageBytes*3/2 + 64<<10
)

// MaxBody is how large the body of a request of the method may be, in JSON.
func (m Method) MaxBody() int {
	if m == PublishMessage {
		return MaxPublishBody
	}
	return MaxBody
}

// String is the method's name.
func (m Method) String() string { return methods[m].name }
