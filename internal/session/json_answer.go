package session

// The methods of this file append the answers of the API that are more than a session or a message, the same on every
// transport.

// AppendJSON appends the answer to a join.
func (r JoinResult) AppendJSON(b []byte) []byte {
	b = append(b, `{"session":`...)
	b = r.Record.AppendJSON(b, "")
	b = append(b, `,"member":`...)
	b = r.Member.AppendJSON(b)
	b = append(b, `,"cursor":"`...)
	b = r.Cursor.Append(b)
	return append(b, `"}`...)
}

// AppendLeftJSON appends the answer to a leave: the session as it is then.
func AppendLeftJSON(b []byte, record *Record) []byte {
	b = append(b, `{"session":`...)
	b = record.AppendJSON(b, "")
	return append(b, '}')
}

// AppendPublishedJSON appends the answer to a publish: the event's cursor, and the message.
func AppendPublishedJSON(b []byte, event *Event) []byte {
	b = append(b, '{')
	b = AppendPublished(b, event)
	return append(b, '}')
}

// AppendPublished appends the members of an object that say what became of a message.
func AppendPublished(b []byte, event *Event) []byte {
	b = append(b, `"acknowledgment":"`...)
	if cursor, stored := event.Cursor(); stored {
		b = cursor.Append(b)
	}
	b = append(b, `","message":`...)
	return event.AppendPayload(b)
}

// AppendJSON appends the page.
func (r ListResult) AppendJSON(b []byte) []byte {
	item := func(record *Record, b []byte) []byte { return record.AppendJSON(b, "") }
	return appendPage(b, "sessions", r.Records, item, r.NextPageToken)
}

// AppendJSON appends the page.
func (r ListMessagesResult) AppendJSON(b []byte) []byte {
	return appendPage(b, "messages", r.Events, (*Event).AppendPayload, r.NextPageToken)
}

// AppendJSON appends the page.
func (r ListMembersResult) AppendJSON(b []byte) []byte {
	return appendPage(b, "members", r.Members, MemberState.AppendJSON, r.NextPageToken)
}

// appendPage appends a page of a list. Page tokens need no quoting.
func appendPage[T any](b []byte, name string, items []T, appendJSON func(item T, b []byte) []byte, next string) []byte {
	b = append(b, `{"`...)
	b = append(b, name...)
	b = append(b, `":[`...)
	for i, item := range items {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendJSON(item, b)
	}
	b = append(b, `],"nextPageToken":"`...)
	b = append(b, next...)
	return append(b, `"}`...)
}
