package access_test

import (
	"net/http"
	"sync"
	"testing"

	"google.golang.org/grpc/codes"

	conversationv1 "github.com/parleyhq/parley/gen/parley/conversation/v1"
)

// newTicket makes a ticket for a stream of the session.
func newTicket(t tb, over transport, w who, id string) string {
	t.Helper()
	answer := over.call(t, w, &conversationv1.CreateTicketRequest{Session: name(id)}).ok(t)
	return answer.(*conversationv1.CreateTicketResponse).GetTicket()
}

func TestATicketOpensOneStreamOnce(t *testing.T) {
	id, other := create(t, draft(private, "user")), create(t, draft(private, "user"))
	join(t, id, "user")
	for _, over := range transports {
		for _, format := range formats {
			t.Run(over.name+", "+format, func(t *testing.T) {
				ticket := newTicket(t, over, as("user"), id)
				_, refusal := open(t, format, who{nobody: true}, other, "", ticket)
				refusal.refused(t, codes.Unauthenticated, "TICKET_INVALID")
				s, refusal := open(t, format, who{nobody: true}, id, "", ticket)
				refusal.ok(t)
				publish(t, id, "user", "hello")
				s.until(t, func(e *conversationv1.Event) bool { return says(e, "hello") })
				for _, again := range formats {
					_, refusal := open(t, again, who{nobody: true}, id, "", ticket)
					refusal.refused(t, codes.Unauthenticated, "TICKET_USED")
				}
			})
		}
	}
}

func TestASocketThatATicketHasOpenedPublishes(t *testing.T) {
	id := create(t, draft(private, "user"))
	join(t, id, "user")
	s, refusal := open(t, socket, who{nobody: true}, id, "", newTicket(t, overREST, as("user"), id))
	refusal.ok(t)
	answer := s.publish(t, &conversationv1.PublishMessageRequest{Message: text("hello")}).ok(t).(*conversationv1.PublishMessageResponse)
	if got := answer.GetMessage().GetSender(); got != "user" {
		t.Errorf("sender = %q, want the user of the ticket", got)
	}
	s.publish(t, &conversationv1.PublishMessageRequest{Name: "another", Message: text("hello")}).
		refused(t, codes.PermissionDenied, "ACTING_AS_ANOTHER")
}

func TestATicketIsForTheUserThatABackendActsFor(t *testing.T) {
	id := create(t, draft(private, "user"))
	join(t, id, "user")
	s, refusal := open(t, socket, who{nobody: true}, id, "", newTicket(t, overGRPC, backend("user"), id))
	refusal.ok(t)
	answer := s.publish(t, &conversationv1.PublishMessageRequest{Message: text("hello")}).ok(t).(*conversationv1.PublishMessageResponse)
	if got := answer.GetMessage().GetSender(); got != "user" {
		t.Errorf("sender = %q, want the user whom the backend named", got)
	}
}

func TestATicketThatIsNone(t *testing.T) {
	id := create(t, draft(public, "user"))
	for name, ticket := range map[string]string{
		"a word": "ticket", "made up": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "a token": tokenUntil(t, "user", plain, soon()),
	} {
		for _, format := range formats {
			t.Run(name+", "+format, func(t *testing.T) {
				_, refusal := open(t, format, who{nobody: true}, id, "", ticket)
				refusal.refused(t, codes.Unauthenticated, "TICKET_INVALID")
			})
		}
	}
}

// A ticket says who one was. What that user may is looked at when it is used.
func TestATicketGivesNoRightThatHasEnded(t *testing.T) {
	id := create(t, draft(public, "owner"))
	ticket := newTicket(t, overREST, as("user"), id)
	change(t, "session_type", &conversationv1.Session{Name: name(id), SessionType: private})
	_, refusal := open(t, sse, who{nobody: true}, id, "", ticket)
	refusal.refused(t, codes.NotFound, "SESSION_NOT_FOUND")
	change(t, "session_type", &conversationv1.Session{Name: name(id), SessionType: public})
	_, refusal = open(t, sse, who{nobody: true}, id, "", ticket)
	refusal.refused(t, codes.Unauthenticated, "TICKET_USED")
}

func TestATicketIsNotKeptByAnyone(t *testing.T) {
	id := create(t, draft(private, "user"))
	o := overREST.call(t, as("user"), &conversationv1.CreateTicketRequest{Session: name(id)})
	o.ok(t)
	if got := http.Header(o.said.Header).Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control = %q, want no-store", got)
	}
}

// Of two who use a ticket at the same time, one gets the stream.
func TestATicketIsUsedOnceAlsoAtTheSameTime(t *testing.T) {
	const pairs = 50
	id := create(t, draft(private, "user"))
	for i := range pairs {
		ticket := newTicket(t, overREST, as("user"), id)
		begin := make(chan struct{})
		var refusals [2]outcome
		var both sync.WaitGroup
		for j := range refusals {
			format := formats[(i+j*(i/len(formats)))%len(formats)] // each with each
			both.Go(func() {
				<-begin
				s, refusal := open(t, format, who{nobody: true}, id, "", ticket)
				if refusals[j] = refusal; s != nil {
					s.close()
				}
			})
		}
		close(begin)
		both.Wait()
		if refusals[0].code != codes.OK {
			refusals[0], refusals[1] = refusals[1], refusals[0]
		}
		refusals[0].ok(t)
		refusals[1].refused(t, codes.Unauthenticated, "TICKET_USED")
	}
}
