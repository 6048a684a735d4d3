package natsapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
	"google.golang.org/protobuf/proto"

	"github.com/parleyhq/parley/internal/auth"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/gate"
	"github.com/parleyhq/parley/internal/rpc"
)

// Headers of requests and answers. A request may spell them in any case.
const (
	headerRequestID   = "X-Request-Id"
	headerContentType = "Content-Type"
	headerAccept      = "Accept"
)

// The forms of requests and answers.
const (
	contentJSON     = "application/json"
	contentProtobuf = "application/protobuf"
)

// answerHeaders is about how many bytes an answer has besides its content.
const answerHeaders = 4 << 10

// localhost is the Host of every request, of which auth.Dev asks that it be this machine's: whether whoever connects is,
// is known to who listens.
const localhost = "localhost"

// request is one request, while it is answered.
type request struct {
	*endpoint

	at     target
	reply  string
	header http.Header
	body   []byte
	id     string

	form    string // of the request and the answer: contentJSON or contentProtobuf
	formErr error  // what is wrong with what the header says of it; then it is JSON
}

// receive takes a request, which another goroutine answers: this one is the subscription's. What nobody waits for is
// not done: its sender would not learn whether it was.
func (a *API) receive(e *endpoint, m *nats.Msg) {
	if !a.answerable(m) {
		return
	}
	header := canonical(m.Header)
	r := &request{
		endpoint: e,
		at:       e.targetOf(m.Subject),
		reply:    m.Reply,
		header:   header,
		body:     m.Data,
		id:       gate.RequestID(header[headerRequestID]),
	}
	r.form, r.formErr = formOf(header)
	began := time.Now()
	select {
	case a.slots <- struct{}{}:
	default:
		a.answerFault(r, began, fault.New(fault.Unavailable, "SERVER_BUSY",
			"the server answers as many requests as it can: nothing was done").After(refusedTime))
		return
	}
	a.pending.Go(func() {
		defer func() { <-a.slots }()
		a.serve(r, began)
	})
}

// answerable tells whether a request names a reply subject to which its answer may be sent. An answer is sent with the
// rights of the server, to a subject that the client has chosen: it must be nothing of ours, or of NATS itself.
func (a *API) answerable(m *nats.Msg) bool {
	if m.Reply != "" && !strings.HasPrefix(m.Reply, "parley.") && !strings.HasPrefix(m.Reply, "$") {
		return true
	}
	a.Log.Debug("a request has no reply subject that can be answered", "subject", m.Subject)
	return false
}

// canonical is a header under canonical names: NATS tells upper from lower case.
func canonical(headers nats.Header) http.Header {
	header := make(http.Header, len(headers))
	for name, values := range headers {
		name = http.CanonicalHeaderKey(name)
		header[name] = append(header[name], values...)
	}
	return header
}

// serve answers a request.
func (a *API) serve(r *request, began time.Time) {
	ctx, cancel := context.WithTimeout(a.ctx, requestTime)
	defer cancel()
	// The address is that of a server. Addresses have their limit where clients connect; see Admit.
	call, err := a.Gate.Arrive(gate.Arrival{ID: r.id, Transport: "nats", Method: r.method, Session: r.at.session})
	var answer []byte
	if err == nil {
		answer, err = a.answered(ctx, r, call)
	}
	if err == nil && len(answer) > a.most() {
		err = fault.New(fault.FailedPrecondition, "ANSWER_TOO_LARGE",
			"what was asked for is done, but the answer is larger than this NATS server carries: ask over HTTP or gRPC")
	}
	err = withinTime(ctx, err)
	call.End(ctx, err)
	if err != nil {
		call.Veil(ctx, err)
		a.answerFault(r, began, gate.Shown(ctx, a.Log, r.id, err, slog.String("method", r.method.String())))
		return
	}
	a.stats[r.name].add(time.Since(began), nil)
	a.send(r, answer, nats.Header{})
}

// withinTime is err, or that the time is over that requests have.
func withinTime(ctx context.Context, err error) error {
	if err != nil && errors.Is(err, context.DeadlineExceeded) && ctx.Err() != nil {
		return fault.New(fault.DeadlineExceeded, "DEADLINE_EXCEEDED", "the request took too long; what became of it is not known").Because(err)
	}
	return err
}

// most is how many bytes an answer may have.
func (a *API) most() int { return int(a.Conn.MaxPayload()) - answerHeaders }

// answered is the answer to a request. A panic is an error like others.
func (a *API) answered(ctx context.Context, r *request, call *gate.Call) (answer []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	if err := call.Authenticate(ctx, authRequest(r.header)); err != nil {
		return nil, err
	}
	if r.formErr != nil {
		return nil, r.formErr
	}
	if most := r.method.MaxBody(); len(r.body) > most {
		return nil, fault.New(fault.TooLarge, "BODY_TOO_LARGE", "the body must be at most %d bytes", most)
	}
	if err := call.TakeBody(int64(len(r.body))); err != nil {
		return nil, err
	}
	if r.form == contentProtobuf {
		return inProtobuf(ctx, a.methods, call, r.at, r.body, a.most())
	}
	return r.inJSON(ctx, &jsonCall{target: r.at, call: call, service: a.Service, body: r.body, most: a.most()})
}

// authRequest is the request as far as it says who is asking.
func authRequest(header http.Header) auth.Request {
	said := auth.Request{Host: localhost, Header: http.Header{}}
	for _, name := range [...]string{auth.HeaderAuthorization, auth.HeaderUser} {
		if values, ok := header[name]; ok {
			said.Header[name] = values
		}
	}
	return said
}

// formOf is the form of a request and its answer: what Content-Type says, else what Accept asks for, else JSON.
func formOf(header http.Header) (string, error) {
	accepted := acceptedForms(header)
	var form string
	switch said := mediaType(header.Get(headerContentType)); {
	case said == contentJSON, said == "" && accepted[contentJSON]:
		form = contentJSON
	case said == contentProtobuf, said == "" && accepted[contentProtobuf]:
		form = contentProtobuf
	case said != "":
		return contentJSON, fault.New(fault.UnsupportedMedia, "UNSUPPORTED_MEDIA_TYPE",
			"Content-Type must be %s or %s", contentJSON, contentProtobuf)
	}
	if !accepted[form] {
		return contentJSON, fault.New(fault.NotAcceptable, "NOT_ACCEPTABLE",
			"answers have the form of their requests, %s or %s: Accept must allow it", contentJSON, contentProtobuf)
	}
	return form, nil
}

// acceptedForms are the forms that Accept allows; without it all.
func acceptedForms(header http.Header) map[string]bool {
	accepted := map[string]bool{}
	said := header[headerAccept]
	if len(said) == 0 {
		said = []string{"*/*"}
	}
	for _, line := range said {
		for entry := range strings.SplitSeq(line, ",") {
			switch form := mediaType(entry); form {
			case "*/*", "application/*":
				accepted[contentJSON], accepted[contentProtobuf] = true, true
			default:
				accepted[form] = true
			}
		}
	}
	return accepted
}

// mediaType is a media type without parameters, and by one name.
func mediaType(value string) string {
	media, _, _ := strings.Cut(value, ";")
	media = strings.ToLower(strings.TrimSpace(media))
	if media == "application/x-protobuf" {
		return contentProtobuf
	}
	return media
}

// answerFault answers with a fault as clients get to see it.
func (a *API) answerFault(r *request, began time.Time, f *fault.Error) {
	a.stats[r.name].add(time.Since(began), f)
	header := nats.Header{
		micro.ErrorHeader:     {oneLine(f.Message)},
		micro.ErrorCodeHeader: {strconv.Itoa(rpc.HTTPStatus(f.Kind))},
	}
	if r.form != contentProtobuf {
		a.send(r, rpc.AppendErrorJSON(nil, f), header)
		return
	}
	encoded, err := proto.Marshal(rpc.Status(f).Proto())
	if err != nil { // never: it is all ours
		a.Log.Error("a status cannot be encoded", "error", err)
	}
	a.send(r, encoded, header)
}

// oneLine is a text as a header can have it.
func oneLine(text string) string { return strings.NewReplacer("\r", " ", "\n", " ").Replace(text) }

// send sends an answer. If it cannot be sent then nobody learns of it but us.
func (a *API) send(r *request, body []byte, header nats.Header) {
	header[headerContentType] = []string{r.form}
	header[headerRequestID] = []string{r.id}
	if err := a.Conn.PublishMsg(&nats.Msg{Subject: r.reply, Header: header, Data: body}); err != nil {
		a.Log.Debug("an answer cannot be sent", "requestId", r.id, "error", err)
	}
}
