package session

import "github.com/parleyhq/parley/internal/fault"

// The decoders of this file read whole requests, as the messages of the contract are in JSON: for transports that have
// neither a path nor a query. What DecodeDraft says of names, of null, and of what is reported, holds for them, and so
// does the rule that paths leave out "session.". An empty body is a message without fields.
//
// The id is that of the session which the transport says that the request is about. A resource name in the body need not
// be there, and must not contradict it.

// call is a request, and the resource name that its message has.
type call[T any] struct {
	request  T
	resource string
}

// callFields are those of a message: the resource name, and the fields of the request.
func callFields[T any](resource string, of *fields[T]) *fields[call[T]] {
	list := append(make([]field[call[T]], 0, 1+len(of.list)),
		textField(resource, func(c *call[T]) *string { return &c.resource }))
	for _, f := range of.list {
		wrapped := field[call[T]]{name: f.name}
		if f.read != nil {
			wrapped.read = func(d *decoder, to *call[T], path string) error { return f.read(d, &to.request, path) }
		}
		list = append(list, wrapped)
	}
	return newFields("", list...)
}

// decodeCall reads a message whose resource name, if it has one, must be the wanted one; see Contradiction for the field.
func decodeCall[T any](body []byte, fields *fields[call[T]], field, want string) (*T, error) {
	var c call[T]
	if !isBlank(body) {
		if _, err := decode(body, fields, &c); err != nil {
			return nil, err
		}
	}
	if c.resource != "" && c.resource != want {
		return nil, Contradiction(field)
	}
	return &c.request, nil
}

// Contradiction is the fault of a request whose field names another thing than the one that the request was sent to.
func Contradiction(field string) error {
	return fault.Invalid(field, "must be what the request was sent to, or be left out")
}

// Where the messages have their resource names.
const (
	nameField    = "name"
	sessionField = "session"
)

var (
	getCallFields           = callFields(nameField, newFields[struct{}](""))
	deleteCallFields        = callFields(nameField, deleteFields)
	joinCallFields          = callFields(sessionField, joinFields)
	leaveCallFields         = callFields(sessionField, leaveFields)
	publishCallFields       = callFields(sessionField, publishFields)
	listOfSessionCallFields = callFields(sessionField, listFields)
)

var deleteFields = newFields("",
	textField("etag", func(r *DeleteRequest) *string { return &r.ETag }),
	textField("requestId", func(r *DeleteRequest) *string { return &r.RequestID }),
)

var listFields = newFields("",
	field[listRequest]{name: "pageSize", read: func(d *decoder, r *listRequest, path string) (err error) {
		r.PageSize, err = d.int32(at(path), int32Rule)
		return err
	}},
	textField("pageToken", func(r *listRequest) *string { return &r.PageToken }),
	textField("filter", func(r *listRequest) *string { return &r.Filter }),
	textField("orderBy", func(r *listRequest) *string { return &r.OrderBy }),
)

var createCallFields = newFields("",
	field[CreateRequest]{name: sessionField, read: func(d *decoder, r *CreateRequest, _ string) error { return d.draft(&r.Draft) }},
	textField("sessionId", func(r *CreateRequest) *string { return &r.SessionID }),
	textField("requestId", func(r *CreateRequest) *string { return &r.RequestID }),
)

// updateCall is an update, with its mask as it stands.
type updateCall struct {
	UpdateRequest

	mask string
}

var updateCallFields = newFields("",
	field[updateCall]{name: sessionField, read: func(d *decoder, r *updateCall, _ string) error { return d.draft(&r.Draft) }},
	textField("updateMask", func(r *updateCall) *string { return &r.mask }),
	textField("requestId", func(r *updateCall) *string { return &r.RequestID }),
)

// draft reads a session that is a field of another object.
func (d *decoder) draft(to **Draft) error {
	if d.json.PeekKind() != '{' {
		return d.skip(at(sessionField), "must be an object")
	}
	draft := new(Draft)
	d.outer = "." + sessionField
	given, err := object(d, draftFields, draft)
	d.outer = ""
	draft.Given = givenFields(given)
	*to = draft
	return err
}

// DecodeCreateCall reads a CreateSessionRequest. If the id is not empty then it is the one that the session gets.
func DecodeCreateCall(body []byte, id string) (*CreateRequest, error) {
	request := new(CreateRequest)
	if !isBlank(body) {
		if _, err := decode(body, createCallFields, request); err != nil {
			return nil, err
		}
	}
	if request.Draft == nil {
		return nil, fault.Invalid(sessionField, "is required")
	}
	var err error
	request.SessionID, err = CreatedID(request.SessionID, request.Draft.Name, id)
	return request, err
}

// CreatedID is the sessionId of a create that was sent to an id; to none, if that is empty. What the request itself says,
// its sessionId or else its session's name, comes first, but must not be another id: whoever was allowed to send to one
// subject has not asked for the session of another.
func CreatedID(sessionID, name, id string) (string, error) {
	if id == "" {
		return sessionID, nil
	}
	var violations fault.Violations
	const rule = "must be that of the subject, or be left out"
	if sessionID != "" && sessionID != id {
		violations.Addf("sessionId", rule)
	}
	if name != "" && name != NamePrefix+id {
		violations.Addf(nameField, rule)
	}
	return id, violations.Err()
}

// DecodeGetCall reads a GetSessionRequest.
func DecodeGetCall(body []byte, id string) error {
	_, err := decodeCall(body, getCallFields, nameField, NamePrefix+id)
	return err
}

// DecodeListCall reads a ListSessionsRequest.
func DecodeListCall(body []byte) (*ListRequest, error) {
	request := new(listRequest)
	if !isBlank(body) {
		if _, err := decode(body, listFields, request); err != nil {
			return nil, err
		}
	}
	return &ListRequest{
		PageSize: request.PageSize, PageToken: request.PageToken, Filter: request.Filter, OrderBy: request.OrderBy,
	}, nil
}

// DecodeUpdateCall reads an UpdateSessionRequest. Without an updateMask the fields count that the session has, even if
// they are empty.
func DecodeUpdateCall(body []byte, id string) (*UpdateRequest, error) {
	request := new(updateCall)
	if !isBlank(body) {
		if _, err := decode(body, updateCallFields, request); err != nil {
			return nil, err
		}
	}
	if request.Draft == nil {
		return nil, fault.Invalid(sessionField, "is required")
	}
	request.ID = id
	var err error
	request.Mask, err = ParseMask(SplitMask(request.mask))
	return &request.UpdateRequest, err
}

// DecodeDeleteCall reads a DeleteSessionRequest.
func DecodeDeleteCall(body []byte, id string) (*DeleteRequest, error) {
	request, err := decodeCall(body, deleteCallFields, nameField, NamePrefix+id)
	if err != nil {
		return nil, err
	}
	request.ID = id
	return request, nil
}

// DecodeJoinCall reads a JoinSessionRequest.
func DecodeJoinCall(body []byte, id string) (*JoinRequest, error) {
	request, err := decodeCall(body, joinCallFields, sessionField, NamePrefix+id)
	if err != nil {
		return nil, err
	}
	request.ID = id
	return request, nil
}

// DecodeLeaveCall reads a LeaveSessionRequest.
func DecodeLeaveCall(body []byte, id string) (*LeaveRequest, error) {
	request, err := decodeCall(body, leaveCallFields, sessionField, NamePrefix+id)
	if err != nil {
		return nil, err
	}
	request.ID = id
	return request, nil
}

// DecodePublishCall reads a PublishMessageRequest. The request holds nothing of the body.
func DecodePublishCall(body []byte, id string) (*PublishRequest, error) {
	request, err := decodeCall(body, publishCallFields, sessionField, NamePrefix+id)
	if err != nil {
		return nil, err
	}
	request.ID = id
	return request, nil
}

// DecodeListMessagesCall reads a ListMessagesRequest.
func DecodeListMessagesCall(body []byte, id string) (*ListMessagesRequest, error) {
	request, err := decodeCall(body, listOfSessionCallFields, sessionField, NamePrefix+id)
	if err != nil {
		return nil, err
	}
	request.ID = id
	return (*ListMessagesRequest)(request), nil
}

// DecodeGetMessageCall reads a GetMessageRequest for a message of the session.
func DecodeGetMessageCall(body []byte, id, messageID string) error {
	_, err := decodeCall(body, getCallFields, nameField, NamePrefix+id+messagesInfix+messageID)
	return err
}

// DecodeListMembersCall reads a ListMembersRequest.
func DecodeListMembersCall(body []byte, id string) (*ListMembersRequest, error) {
	request, err := decodeCall(body, listOfSessionCallFields, sessionField, NamePrefix+id)
	if err != nil {
		return nil, err
	}
	request.ID = id
	return (*ListMembersRequest)(request), nil
}
