package session

import "testing"

const benchBody = `{"profile":"assistant","displayName":"Front desk","sessionType":2,"owners":["user-1","user-2"],
	"defaultChannels":[1,2],"description":"The first to answer","allowedUsers":["user-3"],"labels":{"tenant":"t7","tier":"gold"},
	"options":{"ttl":"3600s","theme":{"dark":true,"accents":["red",1.5]}}}`

func BenchmarkDecodeDraft(b *testing.B) {
	body := []byte(benchBody)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := DecodeDraft(body); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRecordAppendJSON(b *testing.B) {
	draft, err := DecodeDraft([]byte(benchBody))
	if err != nil {
		b.Fatal(err)
	}
	now := Now()
	record := &Record{
		UID: NewUID(now, 1), ID: "front-desk", Type: Private, DisplayName: "Front desk", Creator: "user-1",
		CreateTime: now, UpdateTime: now, ExpireTime: now + 1, Document: draft.AppendJSON(nil), Head: Head{Sequence: 1},
	}
	buffer := make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		buffer = record.AppendJSON(buffer[:0], "")
	}
}
