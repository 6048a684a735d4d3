package session

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSpecAppendJSON(t *testing.T) {
	for name, test := range map[string]struct {
		spec Spec
		want string
	}{
		"zero": {
			Spec{},
			`{"profile":"","displayName":"","sessionType":0,"owners":[],"defaultChannels":[],"description":"","allowedUsers":[],` +
				`"blockedUsers":[],"labels":{}}`,
		},
		"full": {
			Spec{
				Profile: "p", DisplayName: "d", Type: Temporary, Owners: []string{"o", "p"}, DefaultChannels: []int32{1, -2147483648},
				Description: "x", AllowedUsers: []string{"a"}, BlockedUsers: []string{"b"}, Options: []byte(`{"k":[]}`),
				Labels: map[string]string{"b": "2", "a": "1", "c": ""},
			},
			`{"profile":"p","displayName":"d","sessionType":3,"owners":["o","p"],"defaultChannels":[1,-2147483648],"description":"x",` +
				`"allowedUsers":["a"],"blockedUsers":["b"],"options":{"k":[]},"labels":{"a":"1","b":"2","c":""}}`,
		},
		"characters": {
			Spec{Profile: "<&>\u2028ü🙂\x7f/", DisplayName: "\"\\\n\t\x01"},
			`{"profile":"<&>` + "\u2028ü🙂\x7f" + `/","displayName":"\"\\\n\t\u0001","sessionType":0,"owners":[],"defaultChannels":[],` +
				`"description":"","allowedUsers":[],"blockedUsers":[],"labels":{}}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff("before "+test.want, string(test.spec.AppendJSON([]byte("before ")))); diff != "" {
				t.Errorf("document (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRecordAppendJSON(t *testing.T) {
	record := &Record{
		UID: NewUID(1_000_000_000_000_001, 5), ID: "s", Creator: `o"`, CreateTime: 1_000_000_000_000_001, UpdateTime: 1_000_000_000_000_002,
		Document: []byte(`{"profile":"p"}`), Head: Head{Sequence: 9007199254740993, Members: 2},
	}
	const start = `{"name":"sessions/s","sessionId":"s","uid":"00e8d4a5-1000-7004-8000-000000000005","etag":"5-9ugxnorjlu","creator":"o\""`
	for name, test := range map[string]struct {
		change func(r *Record)
		secret string
		want   string
	}{
		"no secret, no deadline, no message": {
			func(*Record) {}, "",
			start + `,"hasSecretKey":false,"headSequence":"9007199254740993","memberCount":2,` +
				`"createTime":"2001-09-09T01:46:40.000001Z","updateTime":"2001-09-09T01:46:40.000002Z","profile":"p"}`,
		},
		"all": {
			func(r *Record) {
				r.Secret, r.ExpireTime, r.Head.LastMessageTime = Secret{Hash: []byte{1}}, 3_000_000, 2_000_000
			}, "s\n",
			start + `,"hasSecretKey":true,"secretKey":"s\n","headSequence":"9007199254740993","memberCount":2,` +
				`"lastMessageTime":"1970-01-01T00:00:02.000000Z","expireTime":"1970-01-01T00:00:03.000000Z",` +
				`"createTime":"2001-09-09T01:46:40.000001Z","updateTime":"2001-09-09T01:46:40.000002Z","profile":"p"}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			changed := *record
			test.change(&changed)
			if diff := cmp.Diff(test.want, string(changed.AppendJSON(nil, test.secret))); diff != "" {
				t.Errorf("session (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAppendJSONOnlyGrows(t *testing.T) {
	draft, err := DecodeDraft([]byte(benchBody))
	if err != nil {
		t.Fatal(err)
	}
	record := &Record{ID: "s", Creator: "o", CreateTime: 1, UpdateTime: 1, ExpireTime: 1, Document: draft.AppendJSON(nil)}
	buffer := make([]byte, 0, 4096)
	if allocations := testing.AllocsPerRun(100, func() { buffer = record.AppendJSON(buffer[:0], "secret") }); allocations > 0 {
		t.Errorf("a session is encoded with %v allocations, want none", allocations)
	}
	if allocations := testing.AllocsPerRun(100, func() { buffer = draft.AppendJSON(buffer[:0]) }); allocations > 0 {
		t.Errorf("a document is encoded with %v allocations, want none", allocations)
	}
}
