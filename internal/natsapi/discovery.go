package natsapi

import (
	"encoding/json"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
)

// What the service is called where services are discovered. The version is that of the subjects and of what is sent there.
const (
	serviceName    = "parley"
	serviceVersion = "1.0.0"
)

// discoverable has the service be discovered, as the library's services are. It is none of those: they answer on whatever
// subject they are told to, with our rights, which a client could have write to the mirror.
func (a *API) discoverable() error {
	for verb, answer := range map[micro.Verb]func() any{
		micro.PingVerb:  func() any { return micro.Ping{ServiceIdentity: a.identity, Type: micro.PingResponseType} },
		micro.InfoVerb:  a.info,
		micro.StatsVerb: a.statistics,
	} {
		for _, of := range [...]struct{ name, id string }{{}, {name: serviceName}, {serviceName, a.identity.ID}} {
			subject, err := micro.ControlSubject(verb, of.name, of.id)
			if err != nil {
				return fmt.Errorf("natsapi: %w", err)
			}
			if err := a.subscribe(subject, "", func(m *nats.Msg) { a.discover(m, answer) }); err != nil {
				return err
			}
		}
	}
	return nil
}

func (a *API) discover(m *nats.Msg, answer func() any) {
	if !a.answerable(m) {
		return
	}
	body, err := json.Marshal(answer())
	if err == nil {
		err = a.Conn.Publish(m.Reply, body)
	}
	if err != nil {
		a.Log.Debug("an answer cannot be sent", "subject", m.Subject, "error", err)
	}
}

func (a *API) info() any {
	info := micro.Info{ServiceIdentity: a.identity, Type: micro.InfoResponseType, Description: "Parley's conversation sessions"}
	for i := range endpoints {
		e := &endpoints[i]
		info.Endpoints = append(info.Endpoints, micro.EndpointInfo{
			Name: e.name, Subject: e.subject, QueueGroup: serviceName,
			Metadata: map[string]string{
				"subject":       e.pattern,
				"request":       e.request,
				"response":      e.response,
				"content-types": contentJSON + ", " + contentProtobuf,
			},
		})
	}
	return info
}

func (a *API) statistics() any {
	found := micro.Stats{ServiceIdentity: a.identity, Type: micro.StatsResponseType, Started: a.started}
	for i := range endpoints {
		e := &endpoints[i]
		s := a.stats[e.name].read()
		s.Name, s.Subject, s.QueueGroup = e.name, e.subject, serviceName
		found.Endpoints = append(found.Endpoints, &s)
	}
	return found
}
